package ingest_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"sync"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/ingest"
)

// example is a dataset in a vault of its own.
func example(ctx context.Context) (d *dataset.Dataset, remove func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	v, _, err := config.Init(ctx, &config.Config{
		Vault:    config.Setting{Value: filepath.Join(dir, "vault")},
		LocalKey: config.Setting{Value: filepath.Join(dir, "vault.key")},
	})
	if err != nil {
		log.Fatal(err)
	}
	d, err = dataset.Open(v, "events")
	if err != nil {
		log.Fatal(err)
	}
	return d, func() { d.Close(); os.RemoveAll(dir) }
}

// Several goroutines write records, and all of them are in one version.
func ExampleWriter() {
	ctx := context.Background()
	d, remove := example(ctx)
	defer remove()

	w, err := ingest.New(ctx, d, ingest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close() // without a Commit it makes no version

	var days sync.WaitGroup
	for day := 1; day <= 3; day++ {
		days.Go(func() {
			f, err := w.Create(fmt.Sprintf("2024/01/%02d.json", day), ingest.Meta{})
			if err != nil {
				log.Fatal(err)
			}
			defer f.Abort() // does nothing after Close
			if _, err := fmt.Fprintf(f, `{"day": %d}`, day); err != nil {
				log.Fatal(err)
			}
			if err := f.Close(); err != nil {
				log.Fatal(err)
			}
		})
	}
	days.Wait()
	v, err := w.Commit(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("version %d: %d files, %d bytes in %d pack\n", v.Number, v.Totals.Files, v.Totals.Bytes, v.Totals.Packs)
	// Output: version 1: 3 files, 30 bytes in 1 pack
}

// A Writer with an ID continues from what an earlier one has recorded.
func ExampleWriter_Checkpoint() {
	ctx := context.Background()
	d, remove := example(ctx)
	defer remove()

	work := func(paths ...string) error {
		w, err := ingest.New(ctx, d, ingest.Options{ID: "nightly"})
		if err != nil {
			return err
		}
		defer w.Close()
		for _, path := range paths {
			if has, err := w.Has(path, ingest.Meta{}); err != nil {
				return err
			} else if has {
				fmt.Println("has", path)
				continue
			}
			if path == "crash" {
				return fmt.Errorf("a bug in the service")
			}
			f, err := w.Create(path, ingest.Meta{})
			if err != nil {
				return err
			}
			if _, err := io.WriteString(f, "a record"); err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
			if err := w.Checkpoint(ctx); err != nil {
				return err
			}
		}
		v, err := w.Commit(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("version %d: %d files\n", v.Number, v.Totals.Files)
		return nil
	}
	fmt.Println(work("one", "two", "crash"))
	fmt.Println(work("one", "two", "three"))
	// Output:
	// a bug in the service
	// has one
	// has two
	// version 1: 3 files
	// <nil>
}

// The files of a sample lie in one pack.
func ExampleSample() {
	ctx := context.Background()
	d, remove := example(ctx)
	defer remove()

	w, err := ingest.New(ctx, d, ingest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	s, err := w.Sample()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Abort() // does nothing after Close
	for _, name := range []string{"0001.jpg", "0001.json"} {
		f, err := s.Create(name, ingest.Meta{})
		if err != nil {
			log.Fatal(err)
		}
		if _, err := io.WriteString(f, "contents"); err != nil {
			log.Fatal(err)
		}
		if err := f.Close(); err != nil {
			log.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		log.Fatal(err)
	}
	v, err := w.Commit(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(v.Totals.Files, "files in", v.Totals.Packs, "pack")
	// Output: 2 files in 1 pack
}
