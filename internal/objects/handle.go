package objects

// A Handle is embedded in what has the objects of a dataset. What they are, only those
// see who can call Of.
type Handle struct{ objects *Set }

func (h *Handle) handle() *Set { return h.objects }

func (h *Handle) bind(set *Set) { h.objects = set }

type holder interface {
	handle() *Set
	bind(*Set)
}

// Of gives the objects of a dataset, or of that of a version. It is nil for one that was
// not opened in a vault.
func Of(h holder) *Set { return h.handle() }

// Bind gives a dataset, or a version, its objects.
func Bind(h holder, set *Set) { h.bind(set) }
