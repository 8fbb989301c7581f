package commit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// A checkpoint records what an unfinished upload has done so far, sealed and in the
// vault itself: see [Lease.Record].
type checkpoint struct {
	dataset *dataset.Dataset
	source  string
	upload  string
	n       int
	// sign signs the records: see [Lease.signRecord].
	sign func(ctx context.Context, number int64, list []byte) (*codec.Record, error)
	// log is where the records lie that several workers write, each under the next free
	// number; nil for those of an upload.
	log func(number int64) string
}

// Write records entries whose packs are in the vault. A file with only some of its pieces
// in the vault has only those extents. It sorts entries.
func (c *checkpoint) Write(ctx context.Context, key *envelope.DataKey, entries []*tree.Entry) error {
	slices.SortFunc(entries, func(a, b *tree.Entry) int { return cmp.Compare(a.Path, b.Path) })
	for len(entries) > 0 {
		n := recordEntries(entries)
		if err := c.write(ctx, key, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// recordEntries returns how many of the entries, at least one, go into the next record,
// so that it stays within the limits of a list.
func recordEntries(entries []*tree.Entry) int {
	n, size := 0, 0
	for n < len(entries) && n < codec.MaxPendingEntries/4 {
		if size += codec.PathLen(entries[n]); n > 0 && size > codec.MaxPending/16 {
			break
		}
		n++
	}
	return n
}

func (c *checkpoint) write(ctx context.Context, key *envelope.DataKey, entries []*tree.Entry) error {
	list, err := codec.EncodeList(codec.PendingFormat, c.dataset.Name, c.source, entries)
	if err != nil {
		return err
	}
	for {
		r, err := c.sign(ctx, int64(c.n+1), list)
		if err != nil {
			return fmt.Errorf("signing the record of the upload's progress: %w", err)
		}
		b, err := codec.EncodeRecord(r)
		if err != nil {
			return err
		}
		c.n++
		err = c.put(ctx, key, b)
		if c.log != nil && errors.Is(err, fs.ErrExist) {
			continue // another worker of the shard has written this one
		}
		if err != nil {
			return fmt.Errorf("recording the upload's progress: %w", err)
		}
		return nil
	}
}

// put stores record n.
func (c *checkpoint) put(ctx context.Context, key *envelope.DataKey, b []byte) error {
	if c.log != nil {
		return objects.Of(c.dataset).CreateData(ctx, key, c.log(int64(c.n)), b)
	}
	name := c.name(c.n)
	_, err := objects.Of(c.dataset).Seal(ctx, envelope.KindIndex, key, func(envelope.ObjectID) string { return name }, func(dst io.Writer) error {
		_, err := dst.Write(b)
		return err
	})
	return err
}

func (c *checkpoint) name(n int) string {
	return fmt.Sprintf("%s/pending/%s/%08d.vpk", c.dataset.Name, c.upload, n)
}

// Remove deletes the upload's records, once they are no longer needed.
func (c *checkpoint) Remove(ctx context.Context) error {
	for n := 1; n <= c.n; n++ {
		if err := objects.Of(c.dataset).Vault.Delete(ctx, c.name(n)); err != nil {
			return err
		}
	}
	return nil
}

// Pending is what unfinished uploads of a dataset have done so far.
type Pending struct {
	// KeyID is the data key of the newest record; zero if there is none.
	KeyID envelope.KeyID
	// Unreadable are the records that could not be read, each with the reason.
	// What they name is uploaded again.
	Unreadable []error

	dataset *dataset.Dataset
	lists   []pendingList
	runs    [][]pendingList // what Entries yields of them
	broken  []string        // names of the unreadable records
}

type pendingList struct {
	name, source string
	sum          [32]byte // SHA-256 of the list that was vouched for
	first, last  string
	weight       int // of its entries
}

// readPending reads the records of unfinished uploads. It skips uploads that were ended
// by the number closed: a collection may be working on their packs. A record for which
// vouch returns an error is not used.
func readPending(ctx context.Context, d *dataset.Dataset, closed int64,
	vouch func(context.Context, codec.PendingName, *codec.Record, envelope.KeyID) (codec.Header, []*tree.Entry, error)) (*Pending, error) {
	p := &Pending{dataset: d}
	var newest int64
	for o, err := range objects.Of(d).Vault.List(ctx, d.Name+"/pending/") {
		if err != nil {
			return nil, fmt.Errorf("listing unfinished uploads: %w", err)
		}
		name, ok := codec.ParsePending(o.Name)
		if !ok || name.Lease || name.Number <= closed {
			continue
		}
		record, key, err := objects.Of(d).ReadRecord(ctx, o.Name)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var header codec.Header
		var entries []*tree.Entry
		if err == nil {
			header, entries, err = vouch(ctx, name, record, key)
		}
		if err != nil {
			p.broken = append(p.broken, o.Name)
			p.Unreadable = append(p.Unreadable, fmt.Errorf("%s: %w", o.Name, objects.Tampered(err)))
			continue
		}
		if len(entries) == 0 {
			continue
		}
		if at := o.Modified.UnixNano(); at >= newest {
			newest, p.KeyID = at, key
		}
		p.add(o.Name, record, header.Source, entries)
	}
	p.arrange()
	return p, nil
}

// add adds the list of a record that was vouched for.
func (p *Pending) add(name string, record *codec.Record, source string, entries []*tree.Entry) {
	l := pendingList{name: name, sum: record.Sum(), source: source, first: entries[0].Path, last: entries[len(entries)-1].Path}
	for _, e := range entries {
		l.weight += codec.Weight(e)
	}
	p.lists = append(p.lists, l)
}

// arrange sorts the lists into runs; one list of each run is in memory at a time.
// Uploads walk a tree in order, so their lists follow one another except for what
// finished out of order: a few runs hold them all. Lists for which there is no room
// are left out: what they name is uploaded again.
func (p *Pending) arrange() {
	total := 0
	largest := []int{} // of each run
	for _, l := range p.lists {
		i := slices.IndexFunc(p.runs, func(run []pendingList) bool { return run[len(run)-1].last < l.first })
		grows := l.weight
		if i >= 0 {
			grows = max(l.weight-largest[i], 0)
		}
		if total+grows > codec.MaxWeight && len(p.runs) > 0 {
			p.Unreadable = append(p.Unreadable, fmt.Errorf("%s: there is no room in memory for so many records at once", l.name))
			continue
		}
		total += grows
		if i < 0 {
			p.runs, largest = append(p.runs, nil), append(largest, 0)
			i = len(p.runs) - 1
		}
		p.runs[i] = append(p.runs[i], l)
		largest[i] = max(largest[i], l.weight)
	}
}

// Entries yields all recorded entries in the order of their paths; the same path may
// occur several times, with different extents. One list of each run of lists is in
// memory at a time.
func (p *Pending) Entries(ctx context.Context) iter.Seq2[*tree.Entry, error] {
	return func(yield func(*tree.Entry, error) bool) {
		if err := p.begin(ctx); err != nil {
			yield(nil, err)
			return
		}
		type head struct {
			e    *tree.Entry
			next func() (*tree.Entry, error, bool)
		}
		var heads []head
		for _, run := range p.runs {
			next, stop := iter.Pull2(p.run(ctx, run))
			defer stop()
			heads = append(heads, head{next: next})
		}
		for {
			first := -1
			for i := 0; i < len(heads); i++ {
				if heads[i].e == nil {
					e, err, ok := heads[i].next()
					if err != nil {
						yield(nil, objects.Of(p.dataset).Because(err))
						return
					}
					if !ok {
						heads = slices.Delete(heads, i, i+1)
						i--
						continue
					}
					heads[i].e = e
				}
				if first < 0 || heads[i].e.Path < heads[first].e.Path {
					first = i
				}
			}
			if first < 0 || !yield(heads[first].e, nil) {
				return
			}
			heads[first].e = nil
		}
	}
}

// A PendingUpload is an unfinished upload, or a finished one that could not remove its
// records.
type PendingUpload struct {
	// Number is the version number that it would have committed.
	Number int64

	pending *Pending
	lists   []pendingList
}

// Uploads returns the uploads of source that have left records.
func (p *Pending) Uploads(source string) []PendingUpload {
	if p == nil {
		return nil
	}
	var all []PendingUpload
	for _, l := range p.lists { // grouped by upload
		if l.source != source {
			continue
		}
		n := len(all) - 1
		if n < 0 || path.Dir(all[n].lists[0].name) != path.Dir(l.name) {
			name, _ := codec.ParsePending(l.name)
			all, n = append(all, PendingUpload{Number: name.Number, pending: p}), n+1
		}
		all[n].lists = append(all[n].lists, l)
	}
	return all
}

// Entries yields what the upload has recorded, in the order in which it was recorded:
// the same path may occur again.
func (u PendingUpload) Entries(ctx context.Context) iter.Seq2[*tree.Entry, error] {
	if err := u.pending.begin(ctx); err != nil {
		return func(yield func(*tree.Entry, error) bool) { yield(nil, err) }
	}
	return u.pending.run(ctx, u.lists)
}

// A Record is an upload's record with the data key that it is sealed under.
type Record struct {
	Entries []*tree.Entry
	KeyID   envelope.KeyID
}

// Records yields the records of the uploads of source. Unreadable ones are skipped.
func (p *Pending) Records(ctx context.Context, source string) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		if err := p.begin(ctx); err != nil {
			yield(nil, err)
			return
		}
		for _, l := range p.lists {
			if l.source != source {
				continue
			}
			entries, id, err := p.read(ctx, l)
			if ctx.Err() != nil {
				yield(nil, ctx.Err())
				return
			}
			if err == nil && !yield(&Record{entries, id}, nil) {
				return
			}
		}
	}
}

// read rereads a list that was vouched for. It returns an error if the list has been
// replaced.
func (p *Pending) read(ctx context.Context, l pendingList) ([]*tree.Entry, envelope.KeyID, error) {
	r, id, err := objects.Of(p.dataset).ReadRecord(ctx, l.name)
	if err == nil && r.Sum() != l.sum {
		err = envelope.ErrAuthentication
	}
	if err != nil {
		return nil, id, err
	}
	_, entries, err := objects.Of(p.dataset).Listed(r)
	return entries, id, err
}

// run yields the entries of lists that follow one another.
func (p *Pending) run(ctx context.Context, lists []pendingList) iter.Seq2[*tree.Entry, error] {
	return func(yield func(*tree.Entry, error) bool) {
		for _, l := range lists {
			entries, _, err := p.read(ctx, l)
			if err != nil {
				yield(nil, fmt.Errorf("%s: %w", l.name, objects.Tampered(err)))
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// Remove deletes the records of the uploads of source.
func (p *Pending) Remove(ctx context.Context, source string) error {
	if err := p.begin(ctx); err != nil {
		return err
	}
	var names []string
	uploads := map[string]bool{}
	for _, l := range p.lists {
		if l.source == source {
			names = append(names, l.name)
			uploads[path.Dir(l.name)] = true
		}
	}
	for _, name := range p.broken {
		if uploads[path.Dir(name)] {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if err := objects.Of(p.dataset).Vault.Delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// Empty reports whether unfinished uploads have recorded nothing.
func (p *Pending) Empty() bool { return len(p.lists) == 0 }
