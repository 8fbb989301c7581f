package sealedoutput

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/ctxio"
	"github.com/vaultpack/vaultpack/internal/given"
)

// A File is a file of an output.
type File struct {
	Path    string
	Mode    fs.FileMode
	ModTime time.Time
	// Own says that the file is in [Folder]: it was made by vaultpack, not by the script.
	Own bool
}

// Read reads a sealed output, and calls each with every file in it. What each reads is
// authentic for this key, job, output and host, but only when Read has returned nil is it
// known to be complete. Anyone who may open the job's dataset could have made it: the
// statement in it shows whether the job did.
func Read(ctx context.Context, r io.Reader, l Label, key *envelope.LocalKey, each func(File, io.Reader) error) error {
	if err := given.Check(ctx, r != nil && key != nil && l.whole() && each != nil, errNothing); err != nil {
		return err
	}
	sealed, err := envelope.Open(ctx, ctxio.Reader(ctx, r), l.context(), key)
	var noKey *envelope.NoKeyError
	if errors.Is(err, envelope.ErrFormat) || errors.As(err, &noKey) {
		return fmt.Errorf("it is not what the job has sealed: %w (%w)", envelope.ErrAuthentication, err)
	}
	if err != nil {
		return err
	}
	labelled := false
	t := tar.NewReader(sealed)
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the sealed files: %w", err)
		}
		if h.Typeflag != tar.TypeReg {
			return fmt.Errorf("%q is not a file: %w", h.Name, envelope.ErrAuthentication)
		}
		f := File{Path: h.Name, Mode: fs.FileMode(h.Mode).Perm(), ModTime: h.ModTime, Own: own(h.Name)}
		var content io.Reader = t
		if f.Path == labelName {
			b, err := io.ReadAll(io.LimitReader(t, maxLabel))
			var said Label
			if err != nil {
				return fmt.Errorf("reading the sealed files: %w", err)
			}
			if json.Unmarshal(b, &said) != nil || said != l || labelled {
				return fmt.Errorf("it is not output %s of host %s of job %s: %w", l.Output, l.Host, l.Job, envelope.ErrAuthentication)
			}
			labelled, content = true, bytes.NewReader(b)
		}
		if err := each(f, content); err != nil {
			return err
		}
	}
	// Read to the end: a tar may end before the file that contains it.
	if n, err := io.Copy(io.Discard, sealed); err != nil {
		return fmt.Errorf("reading the sealed files: %w", err)
	} else if n > tarPadding {
		return fmt.Errorf("there is data after the files: %w", envelope.ErrAuthentication)
	}
	if !labelled {
		return fmt.Errorf("it does not say which output it is: %w", envelope.ErrAuthentication)
	}
	return nil
}

// tarPadding limits the padding that writers append to a tar: up to a record of 20 blocks.
const tarPadding = 20 * 512
