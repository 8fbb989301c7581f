package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
)

// perFolder is how many files a folder of a tree holds.
const perFolder = 1000

// makeTree makes n files of size bytes of noise below dir, a thousand a folder.
func makeTree(ctx context.Context, dir string, n int, size int64) error {
	folders := make(chan int)
	errs := make(chan error, runtime.NumCPU())
	var wg sync.WaitGroup
	for range cap(errs) {
		wg.Go(func() {
			for i := range folders {
				if err := makeFolder(filepath.Join(dir, fmt.Sprintf("folder-%04d", i)), i, min(perFolder, n-i*perFolder), size); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	var err error
	for i := 0; i*perFolder < n && err == nil; i++ {
		select {
		case folders <- i:
		case err = <-errs:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	close(folders)
	wg.Wait()
	select {
	case last := <-errs:
		err = errors.Join(err, last)
	default:
	}
	return err
}

func makeFolder(dir string, seed, n int, size int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	noise := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	for i := range n {
		if err := makeFile(filepath.Join(dir, fmt.Sprintf("sample-%06d.bin", seed*perFolder+i)), noise, size); err != nil {
			return err
		}
	}
	return nil
}

func makeFile(name string, noise io.Reader, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, noise, size)
	return errors.Join(err, f.Close())
}
