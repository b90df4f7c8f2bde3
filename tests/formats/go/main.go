// Command formats checks Tocsin's ledger formats with Go's own implementation.
//
// It reads one JSON case from standard input, verifies every note, proof and tile in it with
// golang.org/x/mod/sumdb, and writes what Go itself makes of the same entries, so that the Python side
// can verify that in turn. Any disagreement ends it with a message and exit status 1.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type inclusion struct {
	Index int64
	Path  [][]byte
}

type consistency struct {
	Old     int64
	OldRoot []byte
	Path    [][]byte
}

// input is one log of Python's making; byte slices are base64 in JSON.
type input struct {
	VerifierKey string
	SignerKey   string
	Note        []byte
	Origin      string
	Entries     [][]byte
	Root        []byte
	Inclusion   []inclusion
	Consistency []consistency
	Tiles       map[string][]byte
}

// output is what Go makes of the same entries and key.
type output struct {
	Note        []byte
	Inclusion   []inclusion
	Consistency []consistency
	Tiles       map[string][]byte
	Checks      int
}

// memory is a tlog.HashReader over all stored hashes of the log.
type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		hashes[i] = m[index]
	}
	return hashes, nil
}

// tiles is a tlog.TileReader over the tiles that Python laid out.
type tiles map[string][]byte

func (t tiles) Height() int                     { return 8 }
func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(wanted))
	for i, tile := range wanted {
		content, ok := t[c2spPath(tile)]
		if !ok {
			return nil, fmt.Errorf("no tile %s", c2spPath(tile))
		}
		data[i] = content
	}
	return data, nil
}

// c2spPath drops the tile height, which sumdb writes and tlog-tiles fixes at 8.
func c2spPath(tile tlog.Tile) string {
	return strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
}

func main() {
	var in input
	must(json.NewDecoder(os.Stdin).Decode(&in))
	out := output{Tiles: map[string][]byte{}}
	size := int64(len(in.Entries))
	stored := store(in.Entries)
	root, err := tlog.TreeHash(size, stored)
	must(err)
	same(root, in.Root, "root")

	out.Checks += checkNote(in, size, root)
	out.Checks += checkProofs(in, size, root)
	out.Checks += checkTiles(in, stored, size, root)

	signer, err := note.NewSigner(in.SignerKey)
	must(err)
	text := fmt.Sprintf("%s\n%d\n%s\n", in.Origin, size, root)
	out.Note, err = note.Sign(&note.Note{Text: text}, signer)
	must(err)
	for _, one := range in.Inclusion {
		proof, err := tlog.ProveRecord(size, one.Index, stored)
		must(err)
		out.Inclusion = append(out.Inclusion, inclusion{one.Index, fromHashes(proof)})
	}
	for _, one := range in.Consistency {
		proof, err := tlog.ProveTree(size, one.Old, stored)
		must(err)
		out.Consistency = append(out.Consistency, consistency{one.Old, one.OldRoot, fromHashes(proof)})
	}
	for _, tile := range tlog.NewTiles(8, 0, size) {
		data, err := tlog.ReadTileData(tile, stored)
		must(err)
		out.Tiles[c2spPath(tile)] = data
	}
	must(json.NewEncoder(os.Stdout).Encode(out))
}

func store(entries [][]byte) memory {
	var stored memory
	for index, entry := range entries {
		hashes, err := tlog.StoredHashes(int64(index), entry, stored)
		must(err)
		stored = append(stored, hashes...)
	}
	return stored
}

func checkNote(in input, size int64, root tlog.Hash) int {
	verifier, err := note.NewVerifier(in.VerifierKey)
	must(err)
	opened, err := note.Open(in.Note, note.VerifierList(verifier))
	must(err)
	want := fmt.Sprintf("%s\n%d\n%s\n", in.Origin, size, root)
	if opened.Text != want {
		fail("checkpoint text differs")
	}
	return 1
}

func checkProofs(in input, size int64, root tlog.Hash) int {
	for _, one := range in.Inclusion {
		leaf := tlog.RecordHash(in.Entries[one.Index])
		must(tlog.CheckRecord(toHashes(one.Path), size, root, one.Index, leaf))
	}
	for _, one := range in.Consistency {
		must(tlog.CheckTree(toHashes(one.Path), size, root, one.Old, toHash(one.OldRoot)))
	}
	return len(in.Inclusion) + len(in.Consistency)
}

// checkTiles reads every stored hash through the tiles; the reader authenticates each against the root.
func checkTiles(in input, stored memory, size int64, root tlog.Hash) int {
	reader := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, tiles(in.Tiles))
	indexes := make([]int64, len(stored))
	for i := range indexes {
		indexes[i] = int64(i)
	}
	hashes, err := reader.ReadHashes(indexes)
	must(err)
	for i, hash := range hashes {
		same(hash, stored[i][:], "hash read from a tile")
	}
	return len(in.Tiles)
}

func toHash(data []byte) (hash tlog.Hash) {
	if len(data) != len(hash) {
		fail("a hash has the wrong length")
	}
	copy(hash[:], data)
	return hash
}

func toHashes(path [][]byte) []tlog.Hash {
	hashes := make([]tlog.Hash, len(path))
	for i, data := range path {
		hashes[i] = toHash(data)
	}
	return hashes
}

func fromHashes(hashes []tlog.Hash) [][]byte {
	path := make([][]byte, len(hashes))
	for i := range hashes {
		path[i] = hashes[i][:]
	}
	return path
}

func same(hash tlog.Hash, data []byte, what string) {
	if hash != toHash(data) {
		fail(what + " differs")
	}
}

func must(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(1)
}
