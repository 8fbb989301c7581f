package trainer

// SetBinary has the launcher take the same file for every architecture.
func (l *Launcher) SetBinary(b *Binary) {
	l.findBinary = func(string, string) (*Binary, error) { return b, nil }
}

// The scripts that run in the container.
const (
	OpenScript     = openScript
	CodeScript     = codeScript
	OpenProcessing = openProcessing
	CodeProcessing = codeProcessing
)

var (
	ReadBinary  = readBinary
	FindBeside  = findBinary
	SameVersion = sameVersion
	PackSource  = packSource
	ArchOf      = archOf
	HasNVMe     = hasNVMe
	Indent      = indent
	ParseJob    = parseJob
	PackNames   = func(s *Sealed) (names []string) {
		for _, p := range s.Contents.Packs {
			names = append(names, s.set.PackName(p.ID))
		}
		return names
	}
)

func MainDataset(p *Plan) string { return p.dataset() }
