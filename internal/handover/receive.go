package handover

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/ingest"
)

// A step is one line written by the other process.
type step struct {
	Create   string    `json:"create,omitempty"`
	Create64 []byte    `json:"create64,omitempty"`
	Mode     uint32    `json:"mode,omitempty"`
	ModTime  *[2]int64 `json:"mtime,omitempty"`
	Bytes    int64     `json:"bytes,omitempty"` // that follow the line
	Close    bool      `json:"close,omitempty"`
	Abort    bool      `json:"abort,omitempty"`
	Sample   bool      `json:"sample,omitempty"`
	Together bool      `json:"together,omitempty"` // ends the sample
	Remove   string    `json:"remove,omitempty"`
	Commit   bool      `json:"commit,omitempty"`
}

// ErrNoCommit is returned by Receive if its input ends without a commit: the writer failed,
// or was killed.
var ErrNoCommit = errors.New("the writer has ended without a commit: no version was made")

// maxStep bounds a line.
const maxStep = 64 << 10

// A receiver writes what another process sends into a version.
type receiver struct {
	w      *ingest.Writer
	r      *bufio.Reader
	file   *ingest.File
	sample *ingest.Sample
}

// Receive reads steps, which write files one after the other, and makes a version at the step
// "commit". Anything after that step is an error, found before the version is made. The
// caller closes w.
func Receive(ctx context.Context, r io.Reader, w *ingest.Writer) (*dataset.Version, error) {
	in := &receiver{w: w, r: bufio.NewReaderSize(r, 256<<10)}
	for {
		line, err := in.line()
		if err != nil {
			return nil, err
		}
		var s step
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, fmt.Errorf("a step of the writer: %w", err)
		}
		if s.Commit {
			if in.file != nil || in.sample != nil {
				return nil, errors.New("a commit while a file or a sample is open")
			}
			return w.Commit(ctx)
		}
		if err := in.do(s); err != nil {
			return nil, err
		}
	}
}

func (in *receiver) line() ([]byte, error) {
	line, err := in.r.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		return nil, ErrNoCommit
	case errors.Is(err, bufio.ErrBufferFull) || len(line) > maxStep:
		return nil, fmt.Errorf("a step of the writer has more than %d bytes", maxStep)
	}
	return line, err
}

var errSteps = errors.New("steps of the writer in an order that makes no sense")

func (in *receiver) do(s step) (err error) {
	switch {
	case s.Create != "" || s.Create64 != nil:
		return in.create(s)
	case s.Remove != "":
		return in.w.Remove(s.Remove)
	case s.Sample:
		if in.sample != nil || in.file != nil {
			return errSteps
		}
		in.sample, err = in.w.Sample()
		return err
	case s.Together:
		if in.sample == nil || in.file != nil {
			return errSteps
		}
		err = in.sample.Close()
		in.sample = nil
		return err
	case in.file == nil:
		return errSteps
	case s.Bytes > 0:
		n, err := io.Copy(in.file, io.LimitReader(in.r, s.Bytes))
		if err == nil && n < s.Bytes {
			err = ErrNoCommit
		}
		return err
	case s.Close:
		err = in.file.Close()
		in.file = nil
		return err
	case s.Abort:
		in.file.Abort()
		in.file = nil
		return nil
	}
	return errSteps
}

func (in *receiver) create(s step) (err error) {
	if in.file != nil {
		return errSteps
	}
	path := s.Create
	if s.Create64 != nil {
		path = string(s.Create64)
	}
	meta := ingest.Meta{Mode: fs.FileMode(s.Mode & 0o777)}
	if s.ModTime != nil {
		meta.ModTime = time.Unix(s.ModTime[0], s.ModTime[1])
	}
	if in.sample != nil {
		in.file, err = in.sample.Create(path, meta)
	} else {
		in.file, err = in.w.Create(path, meta)
	}
	return err
}
