package vault

import "github.com/vaultpack/vaultpack/internal/fsys"

// CombineCRC is for testing it against checksums of the whole.
func CombineCRC(first, second uint64, length int64) uint64 {
	return nvme.combine(first, second, length)
}

// OpenDirOn is OpenDir on a file system with these calls.
func OpenDirOn(dir string, calls fsys.Calls) (Store, error) {
	d, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	d.files.Calls = calls
	return d, nil
}
