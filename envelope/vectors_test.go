package envelope

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone"
	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone/vectortest"
)

// The public vectors have contexts of their own, so none of them is a segment.
// What this package does with any message runs on them: ReaderAt's way to open
// ranges, and the jobs that open whole ones side by side.
func TestVectors(t *testing.T) {
	vectors := vectortest.Load(t, "../testdata/vectors/c2sp_chunked_encryption_aes_256_gcm_test.json")
	ranges, wholes := 0, 0
	for _, v := range vectors {
		m, err := cobblestone.NewOpener(v.Key, v.Context, v.Message)
		size, sizeErr := cobblestone.PlaintextSize(int64(len(v.Message)))
		if err != nil || sizeErr != nil {
			if v.Result == "valid" {
				t.Errorf("%s: %v, %v", v.Comment, err, sizeErr)
			}
			continue
		}
		wholes++
		whole := make([]byte, size)
		body := bytes.Clone(v.Message[cobblestone.HeaderSize:])
		if _, err := openChunks(m, whole, body, 0, 0); (err == nil) != (v.Result == "valid") {
			t.Errorf("%s: %v", v.Comment, err)
		}
		if v.Result != "valid" {
			continue
		}
		v.CheckReleased(t, whole)
		rng := rand.New(rand.NewPCG(3, uint64(v.ID)))
		for range 20 {
			off := rng.Int64N(size + 1)
			p := make([]byte, rng.Int64N(size-off+1))
			first, last := off/cobblestone.ChunkSize, (off+int64(len(p)))/cobblestone.ChunkSize
			end := min((last+1)*cobblestone.SealedChunk, int64(len(v.Message)-cobblestone.HeaderSize))
			body := bytes.Clone(v.Message[cobblestone.HeaderSize+first*cobblestone.SealedChunk:][:end-first*cobblestone.SealedChunk])
			if _, err := openChunks(m, p, body, uint64(first), int(off%cobblestone.ChunkSize)); err != nil || !bytes.Equal(p, whole[off:][:len(p)]) {
				t.Errorf("%s: %d bytes at %d: %v", v.Comment, len(p), off, err)
			}
			ranges++
		}
	}
	crew := &crew{run: func(j *job) (err error) {
		v := vectors[int(j.number)%len(vectors)]
		j.plain, err = cobblestone.Open(j.ownPlain()[:0], v.Key, v.Context, v.Message)
		return err
	}}
	crew.limit(optionsOf(Workers(4)))
	var jobs []*job
	for i := range 4 * len(vectors) {
		j := newJob()
		j.number = uint64(i)
		jobs = append(jobs, j)
		crew.start(j)
	}
	for i, j := range jobs {
		v := vectors[i%len(vectors)]
		if err := crew.wait(j); (err == nil) != (v.Result == "valid") {
			t.Errorf("%s: in a job: %v", v.Comment, err)
		} else if err == nil {
			v.CheckReleased(t, j.plain)
		}
		j.release()
	}
	t.Logf("%d vectors: %d at once, %d ranges, %d in jobs", len(vectors), wholes, ranges, len(jobs))
	if wholes != 20 || ranges != 20*10 || len(jobs) != 4*35 {
		t.Error("these are not all")
	}
}
