package envelope

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/vaultpack/vaultpack/internal/testkit"
)

// A subject is a way to open sealed files: with a data key as some kind, or
// with local keys in a context.
type subject struct {
	stream func(src io.Reader, opts ...Option) (*Reader, error)
	at     func(src io.ReaderAt, size int64) (*ReaderAt, error)
}

func keySubject(kind Kind, key *DataKey) subject {
	return subject{
		func(src io.Reader, opts ...Option) (*Reader, error) { return NewReader(src, kind, key, opts...) },
		func(src io.ReaderAt, size int64) (*ReaderAt, error) { return NewReaderAt(src, size, kind, key) },
	}
}

// wrapperSubject opens as Open and OpenAt do, but with the options given.
func wrapperSubject(ec EncryptionContext, keys ...KeyWrapper) subject {
	return subject{
		func(src io.Reader, opts ...Option) (*Reader, error) {
			if len(opts) == 0 {
				return Open(ctx, src, ec, keys...)
			}
			h, key, err := unwrapHeader(ctx, src, ec, keys)
			if err != nil {
				return nil, err
			}
			return h.Open(src, KindFile, key, opts...)
		},
		func(src io.ReaderAt, size int64) (*ReaderAt, error) { return OpenAt(ctx, src, size, ec, keys...) },
	}
}

// An outcome is what one read path made of a file: the plaintext that it
// released in order, the error (nil at a proper end), and the error of one more
// read after that.
type outcome struct {
	got        []byte
	err, again error
}

// A path reads a whole file in one way. Those by chunks release more before a
// fault than those by segments.
type path struct {
	name     string
	byChunks bool
	run      func(s subject, sealed []byte) outcome
}

// readBy reads r to its end, size bytes at a time.
func readBy(r io.Reader, size int) (got []byte, err error) {
	p := make([]byte, size)
	for {
		n, err := r.Read(p)
		got = append(got, p[:n]...)
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, err
		}
	}
}

func streamPath(name string, size int, odd func(io.Reader) io.Reader, opts ...Option) path {
	return path{name: name, run: func(s subject, sealed []byte) outcome {
		var src io.Reader = bytes.NewReader(sealed)
		if odd != nil {
			src = odd(src)
		}
		r, err := s.stream(src, opts...)
		if err != nil {
			return outcome{nil, err, err}
		}
		var got []byte
		if size > 0 {
			got, err = readBy(r, size)
		} else {
			var b bytes.Buffer
			var n int64
			n, err = r.WriteTo(&b)
			if got = b.Bytes(); n != int64(len(got)) {
				return outcome{got, errors.New("WriteTo miscounts"), nil}
			}
		}
		n, again := r.Read(make([]byte, 10))
		if n != 0 {
			again = nil
		}
		if m, last := r.WriteTo(io.Discard); m != 0 || last != again && !(last == nil && again == io.EOF) {
			again = errors.New("WriteTo and Read end in different errors")
		}
		return outcome{got, err, again}
	}}
}

// atPath reads with ReadAt, size bytes at a time or, if it is 0, all at once.
func atPath(name string, size int) path {
	return path{name: name, byChunks: size > 0, run: func(s subject, sealed []byte) outcome {
		r, err := s.at(bytes.NewReader(sealed), int64(len(sealed)))
		if err != nil {
			return outcome{nil, err, err}
		}
		all := make([]byte, r.Size())
		step := size
		if step == 0 {
			step = len(all)
		}
		at := 0
		for at < len(all) && err == nil {
			p := all[at:min(at+step, len(all))]
			var n int
			n, err = r.ReadAt(p, int64(at))
			if err == io.EOF && n == len(p) {
				err = nil
			}
			if err == nil && n != len(p) {
				err = errors.New("ReadAt returned less than it was asked for, with no error")
			}
			for _, c := range p[n:] {
				if c != 0 {
					err = errors.New("ReadAt left something beyond what it says to have read")
				}
			}
			at += n
		}
		n, again := r.ReadAt(make([]byte, 1), r.Size()/2)
		if n == 0 && err == nil && len(all) > 0 {
			err = errors.New("the middle cannot be read again")
		}
		if err == nil {
			if _, again = r.ReadAt(make([]byte, 1), r.Size()); again != io.EOF {
				err = errors.New("ReadAt the end does not give io.EOF")
			}
		}
		return outcome{all[:at], err, again}
	}}
}

// fewPaths covers each machinery once; allPaths adds sizes and sources.
var (
	fewPaths = []path{
		streamPath("one worker", 1000, nil, Workers(1)),
		streamPath("three workers", 7000, nil, Workers(3)),
		streamPath("WriteTo", 0, nil, Workers(2)),
		atPath("ReadAt by chunks", 16384),
		atPath("ReadAt at once", 0),
	}
	allPaths = append([]path{
		streamPath("Open and odd sizes", 16385, nil),
		streamPath("big reads", 3<<20, nil, Workers(8)),
		streamPath("WriteTo with one worker", 0, nil, Workers(1)),
		streamPath("from halves", 511, iotest.HalfReader, Workers(2)),
		streamPath("from stutter", 65536, oddReaders["stutter"], Workers(1)),
		streamPath("data with EOF", 1<<20, iotest.DataErrReader, Workers(2)),
		atPath("ReadAt in odd sizes", 100003),
	}, fewPaths...)
)

// checkFailed says what is wrong with an outcome that must be a failure: to
// authenticate or, where the header was hit, to parse or to find a slot.
func checkFailed(o outcome, plain []byte) string {
	class := classify(o.err)
	switch {
	case class != testkit.Authentication && class != testkit.Format && class != testkit.NoKey:
		return "it ended in " + class
	case o.again != o.err:
		return "the read after the error gave another one"
	case !bytes.HasPrefix(plain, o.got):
		return "it released what was never sealed there"
	}
	return ""
}

// checkTampered opens sealed by few paths, and wants each of them to fail.
func checkTampered(t *testing.T, s subject, sealed, plain []byte, format string, args ...any) {
	t.Helper()
	for _, p := range fewPaths {
		o := p.run(s, sealed)
		if wrong := checkFailed(o, plain); wrong != "" {
			t.Errorf(format+": %s: %s: %d bytes, %v, then %v", append(args, p.name, wrong, len(o.got), o.err, o.again)...)
		}
	}
}
