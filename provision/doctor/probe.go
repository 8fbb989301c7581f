package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// probeChecks store two small objects, as uploads do, and remove them. The objects
// are below pending/, where an uploader may delete, and have names that no upload
// uses.
func (d *doctor) probeChecks(inS3 bool) []check {
	folder := d.folder() + "/pending/doctor-" + rand.Text()
	plain, once := folder+"/probe", folder+"/once"
	stored := "put"
	all := []check{{name: "put", needs: []string{reached(inS3)}, run: func(ctx context.Context) Finding { return d.put(ctx, plain) }}}
	if inS3 {
		stored = "object encryption"
		all = append(all, check{name: stored, needs: []string{"put"}, run: func(ctx context.Context) Finding { return d.objectEncryption(ctx, plain) }})
	}
	return append(all,
		check{name: "get", needs: []string{stored}, run: func(ctx context.Context) Finding { return d.get(ctx, plain) }},
		check{name: "conditional writes", needs: []string{stored}, run: func(ctx context.Context) Finding { return d.conditional(ctx, once) }},
		check{name: "delete", needs: []string{stored}, run: d.delete})
}

// folder returns one that roles for all datasets may use, or the dataset's.
func (d *doctor) folder() string {
	if d.Dataset != "" {
		return d.Dataset
	}
	return "_vaultpack"
}

var probeText = []byte("a probe of vaultpack doctor; it may be deleted\n")

// where returns the probe's location for people.
func (d *doctor) where() string {
	if s3store.IsURL(d.Config.Vault.Value) {
		return "the bucket"
	}
	return d.Config.Vault.Value
}

// advice returns what to do when the store fails.
func (d *doctor) advice() string {
	if s3store.IsURL(d.Config.Vault.Value) {
		return "do what the message says, then run doctor again"
	}
	return "check that the file system is writable and healthy, or put the vault on a local file system"
}

func (d *doctor) put(ctx context.Context, name string) Finding {
	d.probes = append(d.probes, name)
	err := d.store.Put(ctx, name, func(w io.Writer) error {
		_, err := w.Write(probeText)
		return err
	})
	var sse *s3store.SSEError
	if errors.As(err, &sse) {
		d.sseErr = err // of another check
		err = nil
	}
	if err != nil {
		return broken(d.advice(), err, d.actions("s3:PutObject", "kms:GenerateDataKey")...)
	}
	if s3store.IsURL(d.Config.Vault.Value) {
		return ok("an object can be stored")
	}
	return ok("a file can be written, synced and renamed in %s", d.where())
}

// actions returns the permissions that a request may lack; none for a directory.
func (d *doctor) actions(s3 string, kms ...string) []string {
	switch {
	case !s3store.IsURL(d.Config.Vault.Value):
		return nil
	case d.Config.S3.SSE == s3store.SSENone:
		return []string{s3}
	}
	return append([]string{s3}, kms...)
}

// objectEncryption reports what the store saw when it checked what it had stored.
func (d *doctor) objectEncryption(ctx context.Context, name string) Finding {
	if d.sseErr != nil {
		return failed("use a server that supports SSE-KMS, or set sse: none in "+settingsFile(d.Config), "%v", d.sseErr)
	}
	if d.Config.S3.SSE == s3store.SSENone {
		return ok("none is required (sse: none); vaultpack's data is sealed in any case")
	}
	return ok("the object was stored with SSE-KMS under %s", d.sseKey)
}

func (d *doctor) get(ctx context.Context, name string) Finding {
	got, err := d.read(ctx, name)
	if err != nil {
		return broken(d.advice(), err, d.actions("s3:GetObject", "kms:Decrypt")...)
	}
	if !bytes.Equal(got, probeText) {
		return failed("do not use this server", "the object that was read differs from the one that was stored")
	}
	return ok("what was stored is read back")
}

func (d *doctor) read(ctx context.Context, name string) ([]byte, error) {
	r, err := d.store.Get(ctx, name, 0, -1)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(r, 1<<10))
	return b, errors.Join(err, r.Close())
}

// conditional creates an object twice; the second time must fail. That only one of
// two writers wins depends on this.
func (d *doctor) conditional(ctx context.Context, name string) Finding {
	d.probes = append(d.probes, name)
	fix := "use a server that supports If-None-Match on PUT (AWS S3, MinIO), or make sure that only one upload runs at a time"
	if !s3store.IsURL(d.Config.Vault.Value) {
		fix = "put the vault on another file system, or make sure that only one upload runs at a time"
	}
	if err := d.store.Create(ctx, name, probeText); err != nil {
		return broken(fix, fmt.Errorf("creating a new object: %w", err), d.actions("s3:PutObject", "kms:GenerateDataKey")...)
	}
	switch err := d.store.Create(ctx, name, []byte("another\n")); {
	case errors.Is(err, fs.ErrExist):
	case err == nil:
		return failed(fix, "an existing object was created again: of two uploads to a dataset, one could undo the other")
	default:
		return broken(fix, fmt.Errorf("creating an existing object: %w", err), d.actions("s3:PutObject", "kms:GenerateDataKey")...)
	}
	if got, err := d.read(ctx, name); err == nil && !bytes.Equal(got, probeText) {
		return failed(fix, "an object was replaced although the server refused it")
	}
	return ok("an existing object is not created again")
}

func (d *doctor) delete(ctx context.Context) Finding {
	for _, name := range d.probes {
		if err := d.store.Delete(ctx, name); err != nil {
			f := broken(d.advice(), err, d.actions("s3:DeleteObject")...)
			f.Fix += "; if " + name + " is still there, delete it by hand"
			return f
		}
		if _, err := d.store.Stat(ctx, name); err == nil {
			return failed(d.advice()+"; delete "+name+" by hand", "%s is still there after it was deleted", name)
		}
	}
	if err := d.removeVersions(ctx); err != nil && d.versions != "" {
		return ok("the object was deleted; its old version stays until a lifecycle rule expires it, since deleting it needs s3:ListBucketVersions and s3:DeleteObjectVersion")
	}
	d.probes = nil
	return ok("what was stored is deleted")
}

// removeProbes is used if the check of deleting was not reached, or failed.
func (d *doctor) removeProbes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, name := range d.probes {
		d.store.Delete(ctx, name)
	}
	if len(d.probes) > 0 {
		d.removeVersions(ctx)
	}
}

// removeVersions removes what a bucket with versioning keeps of the probes,
// including delete markers.
func (d *doctor) removeVersions(ctx context.Context) error {
	if !s3store.IsURL(d.Config.Vault.Value) {
		return nil
	}
	for _, name := range d.probes {
		key := d.loc.Prefix + name
		out, err := d.s3.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &d.loc.Bucket, Prefix: &key, ExpectedBucketOwner: d.owner()})
		if err != nil {
			return err
		}
		remove := func(k, version *string) {
			if aws.ToString(k) != key {
				return
			}
			_, derr := d.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &d.loc.Bucket, Key: &key, VersionId: version, ExpectedBucketOwner: d.owner()})
			err = errors.Join(err, derr)
		}
		for _, v := range out.Versions {
			remove(v.Key, v.VersionId)
		}
		for _, m := range out.DeleteMarkers {
			remove(m.Key, m.VersionId)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
