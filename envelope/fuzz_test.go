package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"

	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/testkit"
)

// smallVectors are the testkit's files that fuzzing starts from: those of less
// than a segment, read once.
var smallVectors = sync.OnceValues(func() ([]*testkit.Vector, error) {
	files, err := os.ReadDir(testkitDir)
	if err != nil {
		return nil, err
	}
	var out []*testkit.Vector
	for _, f := range files {
		if f.Name() == "README.md" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(testkitDir, f.Name()))
		if err != nil {
			return nil, err
		}
		v, err := testkit.Parse(f.Name(), b)
		if err != nil {
			return nil, err
		}
		if len(v.Body) < 128<<10 {
			out = append(out, v)
		}
	}
	return out, nil
})

// seeds gives the small vectors, and fails unless they are as many as are
// known: a target that lost its seeds would fuzz nothing and say nothing.
func seeds(f *testing.F) []*testkit.Vector {
	f.Helper()
	race.Skip(f, "its seeds are opened one after the other")
	all, err := smallVectors()
	if err != nil {
		f.Fatal(err)
	}
	if len(all) != 257 {
		f.Fatalf("found %d small vectors, want 257", len(all))
	}
	return all
}

// wantSeeds checks how many seeds a target has added.
func wantSeeds(f *testing.F, got, want int) {
	f.Helper()
	if got != want {
		f.Fatalf("%d seeds, want %d", got, want)
	}
}

// What ReadHeader takes marshals back to the same bytes; it reads no further,
// and nothing else than ErrFormat comes of what it does not take.
func FuzzHeader(f *testing.F) {
	for _, v := range seeds(f) {
		f.Add(v.Body[:min(len(v.Body), 64+maxKeyring)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		src := bytes.NewReader(b)
		h, err := ReadHeader(src)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v", err)
			}
			return
		}
		read := len(b) - src.Len()
		if again := h.appendTo(nil); !bytes.Equal(again, b[:read]) || h.Size() != int64(read) {
			t.Errorf("%d bytes were read, and marshal to %d others", read, len(again))
		}
		if !h.Kind.valid() || read < HeaderSize || h.Keyring != nil && h.Keyring.ID() != h.KeyID {
			t.Errorf("%+v", h)
		}
		if _, err := ReadHeader(bytes.NewReader(b[:read-1])); !errors.Is(err, ErrFormat) {
			t.Errorf("cut by a byte: %v", err)
		}
	})
}

// What ParseKeyring takes is in bounds, and in its one encoding.
func FuzzKeyring(f *testing.F) {
	n := 0
	for _, v := range seeds(f) {
		if len(v.Body) > HeaderSize {
			if size := int(binary.BigEndian.Uint32(v.Body[60:])); size > 0 && size <= len(v.Body)-HeaderSize {
				f.Add(v.Body[HeaderSize : HeaderSize+size])
				n++
			}
		}
	}
	wantSeeds(f, n, 167)
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKeyring(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v", err)
			}
			return
		}
		if !bytes.Equal(k.Bytes(), b) {
			t.Error("it marshals to other bytes")
		}
		slots := k.Slots()
		if len(b) > maxKeyring || len(slots) < 1 || len(slots) > maxSlots {
			t.Errorf("%d bytes, %d slots", len(b), len(slots))
		}
		work := uint64(0)
		for _, s := range slots {
			if err := s.check(); err != nil {
				t.Error(err)
			}
			if s.Kind == passphraseKind {
				a, err := parseArgonParams(s.Key)
				if err != nil {
					t.Error(err)
				}
				work += a.work()
			}
		}
		if work > maxKeyringWork {
			t.Errorf("%d KiB of work", work)
		}
		var noKey *NoKeyError
		if _, err := k.Unwrap(ctx, nil, GenerateLocalKey()); !errors.As(err, &noKey) {
			t.Errorf("a new key: %v", err)
		}
		same := 0
		for _, s := range slots {
			if s.Kind == slots[0].Kind && s.Key == slots[0].Key {
				same++
			}
		}
		smaller, err := k.Remove(slots[0].Kind, slots[0].Key)
		if same == len(slots) {
			if err == nil {
				t.Error("the last key was removed")
			}
			return
		}
		if err != nil || len(smaller.Slots()) != len(slots)-same {
			t.Fatalf("without its first key: %v", err)
		}
		if _, err := ParseKeyring(smaller.Bytes()); err != nil {
			t.Errorf("without its first key: %v", err)
		}
	})
}

// Whatever bytes are opened with a vector's keys, all paths agree, and nothing
// but what was sealed ever comes out.
func FuzzOpen(f *testing.F) {
	var vectors []*testkit.Vector
	for _, v := range seeds(f) {
		if v.Passphrases == nil { // 10 ms each
			vectors = append(vectors, v)
		}
	}
	for i, v := range vectors {
		f.Add(uint16(i), v.Body)
	}
	wantSeeds(f, len(vectors), 224)
	unchanged := map[*testkit.Vector]*outcome{}
	f.Fuzz(func(t *testing.T, i uint16, body []byte) {
		v := vectors[int(i)%len(vectors)]
		s := vectorSubject(t, v)
		known := unchanged[v]
		if known == nil {
			o := fewPaths[0].run(s, v.Body)
			known = &o
			unchanged[v] = known
		}
		first := fewPaths[0].run(s, body)
		for _, p := range fewPaths {
			o := p.run(s, body)
			if classify(o.err) != classify(first.err) || classify(o.err) == "" {
				t.Fatalf("%s: %v, but %v by %s", p.name, o.err, first.err, fewPaths[0].name)
			}
			if o.err != nil && o.again != o.err || o.err == nil && o.again != io.EOF {
				t.Fatalf("%s: %v and then %v", p.name, o.err, o.again)
			}
			if o.err == nil && (known.err != nil || !bytes.Equal(o.got, known.got)) {
				t.Fatalf("%s: %d bytes opened that nobody sealed", p.name, len(o.got))
			}
			if v.Expect == testkit.Success && !bytes.HasPrefix(known.got, o.got) {
				t.Fatalf("%s: %d bytes came out that nobody sealed", p.name, len(o.got))
			}
			if o.err == nil && v.DataKey != nil && !bytes.Equal(body, v.Body) {
				t.Fatalf("%s: changed, and opened", p.name)
			}
		}
	})
}

// FuzzTamper edits a file by a script: it flips, cuts, repeats, moves, and takes
// pieces of another file, all on and off the boundaries.
func FuzzTamper(f *testing.F) {
	key := testKey(f)
	plain := pattern(2*16384 + 50)
	sealed, other := seal(f, key, plain), seal(f, key, plain)
	s := keySubject(KindFile, key)
	scripts := [][]byte{nil, {0, 0, 70, 1}, {1, 64, 90}, {2, 0, 64, 1, 0}, {3, 0, 64, 1, 0}, {4, 0, 64, 1, 0}, {2, 0, 120, 64, 16, 3, 1, 1, 1, 1}}
	for _, script := range scripts {
		f.Add(script)
	}
	wantSeeds(f, len(scripts), 7)
	f.Fuzz(func(t *testing.T, script []byte) {
		bad := tamper(bytes.Clone(sealed), other, script)
		if bytes.Equal(bad, sealed) || bytes.Equal(bad, other) {
			return
		}
		checkTampered(t, s, bad, plain, "script %d", script)
	})
}

func tamper(b, other, script []byte) []byte {
	next := func() int {
		if len(script) == 0 {
			return 0
		}
		c := int(script[0])
		script = script[1:]
		return c
	}
	// place is anywhere, and often at a boundary.
	edges := []int{0, 8, 12, 28, 60, 64, 88, 120, 120 + 16384, 120 + 16400, 120 + 2*16400, len(other) - 16, len(other)}
	place := func() int {
		c := next()
		return min(edges[c%len(edges)]+next()%3*(c/len(edges)), len(b))
	}
	for edits := 0; len(script) > 0 && edits < 8; edits++ {
		switch op := next() % 5; op {
		case 0:
			if at := next()<<8 | next(); at < len(b) {
				b[at] ^= byte(next())
			}
		case 1:
			b = b[:place()]
		default:
			from, to := place(), place()
			if from > to {
				from, to = to, from
			}
			piece := bytes.Clone(b[from:to])
			switch op {
			case 2: // again, somewhere
				at := place()
				b = append(b[:at:at], append(piece, b[at:]...)...)
			case 3: // left out
				b = append(b[:from:from], b[to:]...)
			case 4: // of the other file
				copy(b[from:to], other[min(from, len(other)):])
			}
		}
	}
	return b
}

// ReaderAt and streaming agree about every range and every changed bit.
func FuzzReaderAt(f *testing.F) {
	key := testKey(f)
	n := 0
	for _, size := range sizes {
		for _, mask := range []byte{0, 1} {
			f.Add(uint32(size), uint32(size/2+70), mask, uint32(size/3), uint32(20000))
			n++
		}
	}
	wantSeeds(f, n, 34)
	f.Fuzz(func(t *testing.T, size, at uint32, mask byte, off, n uint32) {
		plain := pattern(int(size) % (2<<20 + 70000))
		sealed := seal(t, key, plain)
		sealed[int(at)%len(sealed)] ^= mask
		s := keySubject(KindFile, key)
		stream := streamPath("", 50000, nil).run(s, sealed)
		if changed := mask != 0; changed != (stream.err != nil) || !changed && !bytes.Equal(stream.got, plain) || !bytes.HasPrefix(plain, stream.got) {
			t.Fatalf("streaming %d bytes with byte %d changed by %d: %d bytes, %v", len(plain), int(at)%len(sealed), mask, len(stream.got), stream.err)
		}
		for _, p := range []path{atPath("chunks", 16384), atPath("at once", 0)} {
			if o := p.run(s, sealed); classify(o.err) != classify(stream.err) || !bytes.HasPrefix(plain, o.got) {
				t.Fatalf("ReadAt by %s: %d bytes, %v; streaming: %v", p.name, len(o.got), o.err, stream.err)
			}
		}
		r, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), KindFile, key)
		if err != nil {
			return
		}
		from := int(off) % (len(plain) + 1)
		p := make([]byte, int(n)%(1<<20+40000))
		want := plain[from:min(from+len(p), len(plain))]
		got, err := r.ReadAt(p, int64(from))
		if mask == 0 && (got != len(want) || err != nil && (err != io.EOF || from+len(p) < len(plain))) {
			t.Fatalf("ReadAt %d for %d of %d: %d, %v", from, len(p), len(plain), got, err)
		}
		if !bytes.HasPrefix(want, p[:got]) || !bytes.Equal(p[got:], make([]byte, len(p)-got)) {
			t.Fatalf("ReadAt %d for %d: wrong bytes", from, len(p))
		}
	})
}

// However a plaintext is written, the file is that of one Write: the same bytes
// where the random source is, and else one that opens to the same.
func FuzzWrite(f *testing.F) {
	race.Skip(f, "TestWaysToWrite is there")
	n := 0
	for _, size := range sizes {
		for _, splits := range []string{"\x00", "\xff", "\x01\x10\x80\x03\xfe"} {
			f.Add(uint32(size), []byte(splits), uint8(n%6))
			n++
		}
	}
	wantSeeds(f, n, 51)
	f.Fuzz(func(t *testing.T, size uint32, splits []byte, workers uint8) {
		plain := pattern(int(size) % (2<<20 + 70000))
		write := func(w *Writer) {
			rest := plain
			for i := 0; len(rest) > 0 && len(splits) > 0; i++ {
				c := int(splits[i%len(splits)])
				k := min(1+c*c*c/13, len(rest)) // up to 1.2 MiB
				var n int64
				var err error
				switch {
				case c%3 == 1:
					n, err = w.ReadFrom(bytes.NewReader(rest[:k]))
				case c%3 == 2:
					n, err = w.ReadFrom(io.LimitReader(bytes.NewReader(rest), int64(k)))
				default:
					var m int
					m, err = w.Write(rest[:k])
					n = int64(m)
				}
				if n != int64(k) || err != nil {
					t.Fatalf("%d of %d written: %v", n, k, err)
				}
				rest = rest[k:]
				if i > 2000 {
					break
				}
			}
			if _, err := w.Write(rest); err != nil {
				t.Fatal(err)
			}
		}
		key := makeDataKey(KeyID{}, make([]byte, DataKeySize))
		sealed := func(workers int, write func(*Writer)) ([]byte, Pin) {
			cryptotest.SetGlobalRandom(t, uint64(size))
			var out bytes.Buffer
			w, err := NewWriter(&out, KindFile, key, Workers(workers))
			if err != nil {
				t.Fatal(err)
			}
			write(w)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			return out.Bytes(), w.Pin()
		}
		once, oncePin := sealed(1, func(w *Writer) { w.Write(plain) })
		if split, pin := sealed(1, write); !bytes.Equal(split, once) || pin != oncePin {
			t.Fatalf("%d bytes in pieces %d: another file than at once", len(plain), splits)
		}
		many, pin := sealed(2+int(workers%6), write)
		if len(many) != len(once) || pin.Size != int64(len(many)) {
			t.Fatalf("%d bytes, at once %d", len(many), len(once))
		}
		if o := streamPath("", 0, nil).run(keySubject(KindFile, key), many); o.err != nil || !bytes.Equal(o.got, plain) {
			t.Fatalf("opened: %d bytes, %v", len(o.got), o.err)
		}
	})
}

// The canonical context can be read back to the same pairs, so no two contexts
// have one encoding, and it does not depend on the order of a map.
func FuzzContext(f *testing.F) {
	contexts := []string{"", "a=b", "a=b\x00ab=c\x00a=bc", "=\x00=x\x00x=", "vaultpack:dataset=d\x00vaultpack:key-id=0", strings.Repeat("n=v\x00", 20), "é=\xff"}
	for _, c := range contexts {
		f.Add(c, contexts[1])
	}
	wantSeeds(f, len(contexts), 7)
	parse := func(s string) EncryptionContext {
		ec := EncryptionContext{}
		for p := range strings.SplitSeq(s, "\x00") {
			if name, value, ok := strings.Cut(p, "="); ok {
				ec[name] = value
			}
		}
		return ec
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		one, two := parse(a), parse(b)
		for _, ec := range []EncryptionContext{one, two} {
			back := EncryptionContext{}
			last, rest := "", ec.Canonical()
			take := func() string {
				n := binary.BigEndian.Uint32(rest)
				s := string(rest[4 : 4+n])
				rest = rest[4+n:]
				return s
			}
			for len(rest) > 0 {
				name := take()
				if name <= last && len(back) > 0 {
					t.Fatalf("%q after %q", name, last)
				}
				back[name], last = take(), name
			}
			if !maps.Equal(back, ec) {
				t.Fatalf("%q is read back as %q", ec, back)
			}
			if !bytes.Equal(ec.Canonical(), maps.Clone(ec).Canonical()) {
				t.Fatal("it depends on the order")
			}
			full, err := ec.forKey(KeyID{1})
			if err == nil && (len(full) != len(ec)+1 || full[ContextKeyID] != KeyID{1}.String() || len(ec) > 16) {
				t.Fatalf("%q is used as %q", ec, full)
			}
		}
		if bytes.Equal(one.Canonical(), two.Canonical()) != maps.Equal(one, two) {
			t.Fatalf("%q and %q have one encoding", one, two)
		}
	})
}

// Texts of keys and parameters of passphrases: what is taken is written back as
// it was, or in its one form.
func FuzzKeyText(f *testing.F) {
	id, err := GenerateIdentity()
	if err != nil {
		f.Fatal(err)
	}
	texts := []string{string(GenerateLocalKey().EncodeSecret()), string(id.EncodeSecret()), string(id.Recipient().Encode()),
		"# a comment\n\n" + string(GenerateLocalKey().EncodeSecret()) + "\r\n", localPrefix, identityPrefix + base64.StdEncoding.EncodeToString(make([]byte, 31)),
		argonParams{argonCost{8192, 1, 1}, [saltSize]byte{}}.String(), "$argon2id$v=19$m=1048576,t=4,p=16$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=08192,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA"}
	n := 0
	for _, v := range seeds(f) {
		texts = append(append(texts, v.LocalKeys...), v.Identities...)
	}
	for _, s := range texts {
		f.Add(s)
		n++
	}
	wantSeeds(f, n, 147)
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseLocalKey([]byte(s)); err == nil {
			if again, err := ParseLocalKey(k.EncodeSecret()); err != nil || again.Fingerprint() != k.Fingerprint() || !strings.Contains(s, strings.TrimSpace(string(k.EncodeSecret()))) {
				t.Errorf("local key: %v", err)
			}
		}
		if k, err := ParseIdentity([]byte(s)); err == nil {
			if again, err := ParseIdentity(k.EncodeSecret()); err != nil || again.Fingerprint() != k.Fingerprint() {
				t.Errorf("identity: %v", err)
			}
		}
		if k, err := ParseRecipient([]byte(s)); err == nil {
			if again, err := ParseRecipient(k.Encode()); err != nil || again.Fingerprint() != k.Fingerprint() {
				t.Errorf("recipient: %v", err)
			}
		}
		if a, err := parseArgonParams(s); err == nil {
			if a.String() != s || a.memory < minArgonMemory || a.memory > maxArgonMemory || a.time == 0 || a.threads == 0 || a.threads > maxArgonThreads || a.work() > maxSlotWork {
				t.Errorf("%q is read as %v", s, a)
			}
		} else if !errors.Is(err, ErrFormat) {
			t.Error(err)
		}
	})
}
