package vaultpack_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/vaultpack/vaultpack"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/restore"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/ingest"
	"github.com/vaultpack/vaultpack/uploader"
)

// workspace is an empty folder, with a folder of data in it.
func workspace() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	for name, text := range map[string]string{"scans/0001.json": `{"label": "cat"}`, "scans/0002.json": `{"label": "dog"}`} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			log.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	return dir, func() { os.RemoveAll(dir) }
}

// create makes a vault in a directory, with a key in a file.
func create(ctx context.Context, dir string) *vaultpack.Vault {
	v, err := vaultpack.Create(ctx, vaultpack.Settings{Vault: filepath.Join(dir, "vault"), LocalKey: filepath.Join(dir, "vault.key")})
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// A folder is sealed, listed, read, checked and brought back.
func Example() {
	ctx := context.Background()
	dir, remove := workspace()
	defer remove()
	v, err := vaultpack.Create(ctx, vaultpack.Settings{Vault: filepath.Join(dir, "vault"), LocalKey: filepath.Join(dir, "vault.key")})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()

	res, err := v.Upload(ctx, "scans", filepath.Join(dir, "scans"), uploader.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("version %d: %d files\n", res.Version.Number, res.Stats.Files)

	version, err := v.Version(ctx, "scans") // or "scans@1"
	if err != nil {
		log.Fatal(err)
	}
	for e, err := range version.Entries(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		if e.IsFile() {
			fmt.Println(e.Path, e.Size)
		}
	}
	f, err := version.OpenFile(ctx, "0002.json") // an io.ReaderAt
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	label := make([]byte, 3)
	if _, err := f.ReadAt(label, 11); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("a %s\n", label)

	if _, err := verify.Run(ctx, version, verify.Options{}); err != nil {
		log.Fatal(err)
	}
	if _, err := restore.Run(ctx, version, filepath.Join(dir, "out"), restore.Options{}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// version 1: 2 files
	// 0001.json 16
	// 0002.json 16
	// a dog
}

// What an upload would do, and what has changed since the last version.
func ExampleVault_Upload() {
	ctx := context.Background()
	dir, remove := workspace()
	defer remove()
	v := create(ctx, dir)
	defer v.Close()
	scans := filepath.Join(dir, "scans")
	first, err := v.Upload(ctx, "scans", scans, uploader.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(scans, "0003.json"), []byte("{}"), 0o644); err != nil {
		log.Fatal(err)
	}
	plan, err := v.Upload(ctx, "scans", scans, uploader.Options{DryRun: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("to send: %d file, %d bytes\n", plan.Stats.SentFiles, plan.Stats.SentBytes)
	second, err := v.Upload(ctx, "scans", scans, uploader.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for change, err := range dataset.Diff(ctx, first.Version, second.Version) {
		if err != nil {
			log.Fatal(err)
		}
		if change.Entry.IsFile() {
			fmt.Println(change.Kind, change.Entry.Path)
		}
	}
	// Output:
	// to send: 1 file, 2 bytes
	// added 0003.json
}

// A stream of unknown length is a dataset of one file.
func ExampleVault_UploadStream() {
	ctx := context.Background()
	dir, remove := workspace()
	defer remove()
	v := create(ctx, dir)
	defer v.Close()
	dump := strings.NewReader("insert into events values (1);\n")
	res, err := v.UploadStream(ctx, "db", dump, "db.sql", uploader.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.Stats.SentBytes, "bytes")
	// Output: 31 bytes
}

// Records are written one by one, and committed together.
func ExampleVault_Writer() {
	ctx := context.Background()
	dir, remove := workspace()
	defer remove()
	v := create(ctx, dir)
	defer v.Close()
	w, err := v.Writer(ctx, "events", ingest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	f, err := w.Create("2024/01/a.json", ingest.Meta{})
	if err != nil {
		log.Fatal(err)
	}
	defer f.Abort()
	if _, err := io.WriteString(f, `{"event": 1}`); err != nil {
		log.Fatal(err)
	}
	if err := f.Close(); err != nil {
		log.Fatal(err)
	}
	version, err := w.Commit(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("version", version.Number)
	// Output: version 1
}
