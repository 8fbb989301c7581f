package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/faultproxy"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// What TestKilledUploads shows of a directory, of S3: whenever an upload is
// killed, the same command completes it. Parts of packs that were on their way
// are left on the server until gc aborts them.
func TestKilledUploadsToS3(t *testing.T) {
	race.Skip(t, "a process that is killed reports no race")
	t.Parallel()
	const kills = 5
	server := s3test.MinIO(t, false)
	src := t.TempDir()
	treetest.Odd(t, src, 1<<20)
	treetest.NoSetID(t, src)
	for i := range 5 {
		write(t, filepath.Join(src, fmt.Sprintf("large/%d", i)), treetest.Bytes(int64(i)*6<<20+5, 9))
	}
	// Packs of two parts, and in every run two at once.
	args := []string{src, "-d", "d", "--pack-size", "6MiB"}
	newPlace := func() *cloud {
		c := newCloud(t, server)
		c.configure(c.url, "kms_key: "+server.KMSKey+quick)
		c.env = append(c.env, "GOMAXPROCS=2", "TEST_SALT_LOG="+filepath.Join(c.home, "salts"))
		return c
	}
	began := time.Now()
	want := newPlace().upload(args...)
	whole := time.Since(began)

	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	killed, resumed, again, parts := 0, 0, 0, 0
	for killed < kills {
		c := newPlace()
		died := 0
		for range 1 + rng.IntN(3) {
			at := time.Duration(rng.Int64N(int64(whole) * 11 / 10))
			cmd := c.command(append([]string{"push", "-q"}, args...)...)
			check(t, cmd.Start())
			time.Sleep(at)
			cmd.Process.Kill()
			cmd.Wait()
			if !cmd.ProcessState.Success() {
				died++
			}
		}
		killed += died
		before := 0
		for o := range c.objects() {
			if strings.Contains(o, "/packs/") {
				before++
			}
		}
		parts += c.unfinished()
		s := c.completes(src, "d", args[3:]...)
		if s.ResumedBytes > 0 {
			resumed++
		}
		if s.Bytes != want.Bytes || s.Version != 1 {
			t.Fatalf("after a kill: %d bytes in version %d, want %d in 1", s.Bytes, s.Version, want.Bytes)
		}
		// Packs that were finished and not yet recorded are sent twice: of each
		// kill those of the two workers, and those that they have finished
		// while a record was on its way.
		extra := max(before+s.Packs-want.Packs, 0)
		if extra > 4*died {
			t.Errorf("%d packs of %d were sent twice after %d kills", extra, want.Packs, died)
		}
		again += extra
		checkSalts(t, filepath.Join(c.home, "salts"))
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d kills in %v long uploads of %d packs: %d runs went on from a record, %d packs were sent twice, %d multipart uploads were left until gc",
		killed, whole, want.Packs, resumed, again, parts)
	if resumed == 0 {
		t.Error("no run went on from a record")
	}
	if again > killed*2 {
		t.Errorf("%d packs were sent twice in %d kills", again, killed)
	}
}

// Of two writers who commit at the same moment one wins. The other is told, and
// its next try sends nothing again.
func TestTwoWritersOnS3(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	t.Parallel()
	server := s3test.MinIO(t, false)
	c := newCloud(t, server)
	clouds := []*cloud{c, c.elsewhere(t)}
	const rounds = 4
	for round := range rounds {
		src := []string{t.TempDir(), t.TempDir()}
		for i := range src {
			write(t, filepath.Join(src[i], "small"), fmt.Append(nil, round, i))
			write(t, filepath.Join(src[i], "large"), treetest.Bytes(11<<20, byte(2*round+i)))
		}
		// Neither commit goes to the server before both have been sent.
		var commits sync.WaitGroup
		commits.Add(2)
		proxy := faultproxy.New(t, server.URL, server.Transport(), &faultproxy.Fault{Op: "PutObject", Path: "/versions/", Times: 2,
			Do: func(x *faultproxy.Exchange) {
				commits.Done()
				commits.Wait()
				x.Answer(x.Forward())
			}})
		var running sync.WaitGroup
		codes, outputs := make([]int, 2), make([]string, 2)
		for i, c := range clouds {
			c.through(proxy.URL)
			running.Go(func() { codes[i], outputs[i] = c.try("push", "--json", src[i], "-d", "d", "--pack-size", "6MiB") })
		}
		running.Wait()
		loser := 0
		if codes[0] == 0 {
			loser = 1
		}
		if codes[1-loser] != 0 || codes[loser] != exitFailed {
			t.Fatalf("round %d: exit codes %v\n%s%s", round, codes, outputs[0], outputs[1])
		}
		says(t, outputs[loser], "another writer changed the dataset while this upload was running", "run the same command again")
		s := clouds[loser].upload(src[loser], "-d", "d", "--pack-size", "6MiB")
		if s.SentFiles != 0 || s.SentBytes != 0 || s.ResumedFiles != 2 || s.Version != 2*round+2 {
			t.Errorf("round %d: the loser's next try: %+v", round, s)
		}
		c.run(0, "verify", "-q", fmt.Sprintf("d@%d", 2*round+1), "--against", src[1-loser])
		c.run(0, "verify", "-q", fmt.Sprintf("d@%d", 2*round+2), "--against", src[loser])
	}
	c.run(0, "gc", "d", "--grace", "0s")
	c.noOrphans("d")
	for n := range 2 * rounds {
		c.run(0, "verify", "-q", fmt.Sprintf("d@%d", n+1))
	}
}
