package vault

import "github.com/vaultpack/vaultpack/internal/fsys"

// OpenDirOn is OpenDir on a file system with these calls.
func OpenDirOn(dir string, calls fsys.Calls) (Store, error) {
	d, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	d.files.Calls = calls
	return d, nil
}
