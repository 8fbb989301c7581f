package dataset

import "context"

// The jobs of other packages, which a test outside of this one puts here.
var (
	RestoreJob func(ctx context.Context, v *Version, dir string, failed func(string, error)) error
	VerifyJob  func(ctx context.Context, v *Version, failed func(error)) error
	UnpackJob  func(ctx context.Context, v *Version, dir string, tars bool) error
)

// SetPartEntries bounds how many entries a part of an index has.
func SetPartEntries(n int) (reset func()) {
	old := partEntries
	partEntries = n
	return func() { partEntries = old }
}
