package objects

// A Handle is embedded in what has the objects of a dataset. What they are, only those
// see who can call Of.
type Handle struct {
	objects *Set
	root    *Root
}

func (h *Handle) handle() *Set { return h.objects }

func (h *Handle) bind(set *Set) { h.objects = set }

func (h *Handle) rooted() **Root { return &h.root }

type holder interface {
	handle() *Set
	bind(*Set)
	rooted() **Root
}

// RootOf gives the root that a version was read from.
func RootOf(h holder) *Root { return *h.rooted() }

// BindRoot gives a version its objects, and its root.
func BindRoot(h holder, set *Set, r *Root) {
	h.bind(set)
	*h.rooted() = r
}

// Of gives the objects of a dataset, or of that of a version. It is nil for one that was
// not opened in a vault.
func Of(h holder) *Set { return h.handle() }

// Bind gives a dataset, or a version, its objects.
func Bind(h holder, set *Set) { h.bind(set) }
