package main

import (
	"os"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
	"github.com/vaultpack/vaultpack/internal/faultproxy"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
)

// The exit code reports whether something is broken, or only not allowed, and then
// the actions are named.
func TestDoctorInS3(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	t.Parallel()
	c := newCloud(t, s3test.MinIO(t, false))
	out, _ := c.run(0, "doctor", "-d", "scans")
	says(t, out, "ok       endpoint             http://127.0.0.1", "ok       object encryption", "ok       conditional writes", "warning  versioning", ", 0 failed, ")
	if n := len(c.objects()); n > 0 {
		t.Errorf("%d objects are left", n)
	}

	limited := "arn:aws:iam::" + kmstest.Account + ":user/limited"
	c.kms.SetPrincipal(c.s3.AccessKey, limited)
	c.kms.SetIAM(limited, "kms:GenerateDataKey")
	proxy := faultproxy.New(t, c.s3.URL, c.s3.Transport(), &faultproxy.Fault{Op: "GetObject", Path: "/probe", Do: faultproxy.Refuse(403, "AccessDenied")})
	c.through(proxy.URL)
	out, errs := c.run(exitNotAllowed, "doctor", "-d", "scans")
	says(t, out, "skipped  key state            not allowed to check: this needs kms:DescribeKey", "failed   kms:Decrypt ", "failed   get ", "warning  kms:Encrypt ")
	says(t, errs, "2 checks failed; the missing permissions are kms:Decrypt, s3:GetObject\n")
	out, _ = c.run(exitNotAllowed, "doctor", "--json", "-d", "scans")
	says(t, out, `"missing_permissions":["kms:Decrypt"],`, `"exit_code":5,`)

	// With something broken besides, it is not only for want of permissions.
	c.configure(strings.Replace(c.url, "s3://", "s3://no-", 1), "kms_key: "+c.s3.KMSKey)
	out, errs = c.run(exitFailed, "doctor")
	says(t, out, "failed   bucket               there is no bucket no-", "skipped  put                  the check bucket has failed")
	says(t, errs, "the missing permissions are kms:Decrypt\n")
}

// An interrupted doctor removes its probes.
func TestDoctorInterrupted(t *testing.T) {
	c := newCloud(t, s3test.MinIO(t, false))
	met := make(chan bool)
	proxy := faultproxy.New(t, c.s3.URL, c.s3.Transport(), &faultproxy.Fault{Op: "GetObject", Path: "/probe", Do: func(x *faultproxy.Exchange) {
		close(met)
		faultproxy.Silence(x)
	}})
	c.configure(c.url, "kms_key: "+c.s3.KMSKey+"\n  endpoint: "+proxy.URL)
	cmd := c.command("doctor")
	check(t, cmd.Start())
	<-met
	if len(c.objects()) == 0 {
		t.Error("there is no probe")
	}
	check(t, cmd.Process.Signal(os.Interrupt))
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	for o := range c.objects() {
		t.Errorf("%s is left", o)
	}
}
