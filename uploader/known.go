package uploader

import (
	"fmt"
	"slices"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
)

// Contents in the vault that a file may have. They are reused without reading the
// file if its times say that it is the same, and otherwise if a sum does.
type known struct {
	extents []tree.Extent
	sum     []byte // SHA-256, where one was recorded
	pending bool   // an unfinished upload has sent them
}

// A knownExtent is a run of a large file that may be in the vault.
type knownExtent struct {
	tree.Extent
	trusted, pending bool
}

// recall determines what is known about a file, from the previous version and from
// unfinished uploads, as far as the vault still has it.
func (p *planner) recall(it *item, candidates []*tree.Entry) {
	take := func(e *tree.Entry, pending bool) {
		has := p.inVaultOrWarn
		if pending {
			has = p.inVault
		}
		if e.Size != it.entry.Size || !wholeFile(e) || !has(e.Extents) {
			return
		}
		k := known{extents: e.Extents, sum: e.Sum, pending: pending}
		if !it.trusted && p.trusts(it.entry, e) {
			it.trusted = true
			it.known = append([]known{k}, it.known...)
			return
		}
		if p.compares() && summed(e.Extents) {
			it.known = append(it.known, k)
		}
	}
	if it.then != nil && it.then.IsFile() {
		if p.trusts(it.entry, it.then) && wholeFile(it.then) && p.stillThere(it.then.Extents) {
			it.trusted, it.same = true, true
			return
		}
		take(it.then, false)
	}
	for _, c := range candidates {
		take(c, true)
	}
}

// stillThere is like inVault, for the planner, which usually asks about the same pack as
// before.
func (p *planner) stillThere(extents []tree.Extent) bool {
	if len(extents) == 1 && extents[0].Pack == p.lastPack {
		return true
	}
	if !p.inVaultOrWarn(extents) {
		return false
	}
	p.lastPack = extents[len(extents)-1].Pack
	return true
}

// first returns what a trusted item is known to hold.
func (it *item) first() known {
	if it.same {
		return known{extents: it.then.Extents, sum: it.then.Sum}
	}
	return it.known[0]
}

// trusts reports whether a file's size, mode and times say that it has the
// contents that were recorded.
func (u *upload) trusts(now, then *tree.Entry) bool {
	return !u.Checksum && then.Flaw == "" && !then.Recent && sameFile(now, then)
}

func wholeFile(e *tree.Entry) bool {
	at := int64(0)
	for _, x := range e.Extents {
		if x.At != at {
			return false
		}
		at += x.Length
	}
	return len(e.Extents) > 0 && at == e.Size
}

// summed reports whether the extents can be compared by their sums.
func summed(extents []tree.Extent) bool {
	var none envelope.ContentSum
	for _, x := range extents {
		if x.Sum == none {
			return false
		}
	}
	return len(extents) > 0
}

// inVault reports whether the vault has the complete packs of the extents.
func (u *upload) inVault(extents []tree.Extent) bool {
	for _, x := range extents {
		if !u.hasPack(x.Pack) {
			return false
		}
	}
	return true
}

// inVaultOrWarn is like inVault, and warns once about each pack that the vault lacks.
func (u *upload) inVaultOrWarn(extents []tree.Extent) bool {
	all := true
	for _, x := range extents {
		all = u.hasPackOrWarn(x.Pack) && all
	}
	return all
}

func (u *upload) hasPack(o *tree.Object) bool {
	size, ok := u.packSize(o.ID)
	return ok && size == o.Pin.Size
}

func (u *upload) hasPackOrWarn(o *tree.Object) bool {
	if u.hasPack(o) {
		return true
	}
	size, ok := u.packSize(o.ID)
	u.mu.Lock()
	told := u.lost[o.ID]
	if u.lost == nil {
		u.lost = map[envelope.ObjectID]bool{}
	}
	u.lost[o.ID] = true
	u.mu.Unlock()
	switch {
	case told:
	case slices.Contains(u.Resend, o.ID):
		u.Warn(fmt.Errorf("the contents of pack %s are uploaded again, as far as the source has them", o.ID))
	case ok:
		u.Warn(fmt.Errorf("the vault has %d of the %d bytes of pack %s; its contents are uploaded again, as far as the source has them", size, o.Pin.Size, o.ID))
	default:
		u.Warn(fmt.Errorf("pack %s is missing from the vault; its contents are uploaded again, as far as the source has them", o.ID))
	}
	return false
}

// reuse gives the item contents that are already in the vault.
func (it *item) reuse(k known) {
	e := *it.entry
	e.Extents = k.extents
	if e.Sum == nil {
		e.Sum = k.sum
	}
	it.entry, it.reused, it.resumed = &e, true, k.pending
}
