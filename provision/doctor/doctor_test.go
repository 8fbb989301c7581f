package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/faultproxy"
	"github.com/vaultpack/vaultpack/internal/iamtest"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/provision/doctor"
	"github.com/vaultpack/vaultpack/provision/policy"
)

// No check is without a case in which it passes and one in which it does not.
func TestEachCheckHasCases(t *testing.T) {
	for _, name := range doctor.Names() {
		if name == "role permissions" {
			continue // TestRolePermissions
		}
		passes := slices.ContainsFunc([]string{"MinIO", "moto", "directory"}, func(w string) bool { return slices.Contains(passing[w], name) })
		fails := slices.ContainsFunc(cases, func(c testCase) bool {
			return c.check == name && (c.result == doctor.Failed || c.result == doctor.Warning)
		})
		if !passes || !fails {
			t.Errorf("%s: there is a case where it passes: %v; and one where it does not: %v", name, passes, fails)
		}
	}
	for _, c := range cases {
		if !slices.Contains(doctor.Names(), c.check) {
			t.Errorf("there is no check %s", c.check)
		}
	}
}

func TestMinIO(t *testing.T) {
	race.Skip(t, "TestDirectory and TestRolePermissions do the same things at once")
	s := s3test.MinIO(t, false)
	testWorld(t, "MinIO", func(t *testing.T) *world {
		w := inMinIO(t, s)
		w.upload()
		return w
	})
	testInterrupted(t, s)
	testUploader(t, s)
}

func TestMoto(t *testing.T) {
	race.Skip(t, "nothing runs at the same time")
	s := s3test.Moto(t)
	testWorld(t, "moto", func(t *testing.T) *world { return inMoto(t, s) })
}

func TestDirectory(t *testing.T) { testWorld(t, "directory", inDirectory) }

// dynamic is what is said of a vaultpack that training images cannot run.
func dynamic() (string, error) { return "", errors.New("vaultpack is linked dynamically") }

func testWorld(t *testing.T, name string, in func(*testing.T) *world) {
	fresh := func(t *testing.T) *world {
		w := in(t)
		w.doc.Binary = func() (string, error) { return "vaultpack is static", nil }
		return w
	}
	t.Run("in order", func(t *testing.T) {
		w := fresh(t)
		report, err := w.examine(t.Context())
		w.ok(err)
		for _, f := range report {
			want := doctor.Skipped
			if slices.Contains(passing[name], f.Check) {
				want = doctor.OK
			} else if name == "moto" && f.Check == "put" {
				want = doctor.Failed
			}
			if f.Result != want || f.Reason == "" {
				t.Errorf("%s is %s (%s), want %s", f.Check, f.Result, f.Reason, want)
			}
		}
		if len(report) < len(passing[name]) {
			t.Errorf("there were %d checks only", len(report))
		}
	})
	for i, c := range cases {
		if c.world != name {
			continue
		}
		t.Run(fmt.Sprintf("%s %d", c.check, i), func(t *testing.T) {
			w := fresh(t)
			c.change(w)
			report, err := w.examine(t.Context())
			w.ok(err)
			i := slices.IndexFunc(report, func(f doctor.Finding) bool { return f.Check == c.check })
			if i < 0 {
				t.Fatal("it was not made")
			}
			f := report[i]
			if f.Result != c.result || !strings.Contains(f.Reason, c.says) || !strings.Contains(f.Fix, c.fix) || strings.Join(f.Missing, " ") != c.missing {
				t.Errorf("it is %s: %s\nfix: %s\nmissing: %q\nwant %s: …%s…\nfix: …%s…\nmissing: %q", f.Result, f.Reason, f.Fix, f.Missing, c.result, c.says, c.fix, c.missing)
			}
			if (f.Fix == "") != (f.Result == doctor.OK || f.Result == doctor.Skipped) {
				t.Errorf("%s with the fix %q", f.Result, f.Fix)
			}
			actions, only := report.Missing()
			if failed := f.Result == doctor.Failed; failed && c.missing == "" && only || failed && c.missing != "" && (!only || !slices.Contains(actions, strings.Fields(c.missing)[0])) {
				t.Errorf("of the whole, missing are %q, and only that: %v\n%+v", actions, only, report)
			}
		})
	}
}

// A run that is interrupted leaves nothing behind, not even old versions.
func testInterrupted(t *testing.T, s *s3test.Server) {
	for _, op := range []string{"PutObject", "HeadObject", "GetObject"} {
		t.Run("interrupted "+op, func(t *testing.T) {
			w := inMinIO(t, s)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w.through(&faultproxy.Fault{Op: op, Path: "/probe", Do: func(x *faultproxy.Exchange) {
				r := x.Forward()
				if len(w.probes()) == 0 {
					t.Error("there is no probe yet")
				}
				cancel()
				x.Answer(r)
			}})
			report, err := w.examine(ctx)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("it ended with %v after %d checks", err, len(report))
			}
		})
	}
}

// An uploader's role, for all datasets or limited to one, may do all that the
// probes take.
func testUploader(t *testing.T, s *s3test.Server) {
	for _, dataset := range []string{"", "scans"} {
		t.Run("uploader of "+dataset, func(t *testing.T) {
			w := inMinIO(t, s)
			w.doc.Dataset = dataset
			v := policy.Vault{Bucket: w.bucket, Prefix: "ml/", KeyARN: w.key}
			who := policy.Uploader{}
			if dataset != "" {
				who.Datasets = []string{dataset}
			}
			identity, err := iamtest.Parse(v.Uploader(who).JSON())
			w.ok(err)
			const role = "arn:aws:iam::111122223333:role/uploader"
			iam := &iamtest.World{Account: "111122223333", Identities: map[string][]*iamtest.Policy{role: {identity}}, Resources: map[string]*iamtest.Policy{}}
			seen := map[string]int{}
			var faults []*faultproxy.Fault
			for op, action := range map[string]string{"PutObject": "s3:PutObject", "GetObject": "s3:GetObject", "HeadObject": "s3:GetObject",
				"DeleteObject": "s3:DeleteObject", "ListObjectsV2": "s3:ListBucket"} {
				faults = append(faults, &faultproxy.Fault{Op: op, Times: -1, Do: func(x *faultproxy.Exchange) {
					r := iamtest.Request{Principal: role, Action: action, Resource: "arn:aws:s3:::" + strings.TrimPrefix(x.Request.URL.Path, "/"),
						Context: map[string]string{"aws:SecureTransport": "true"}}
					if op == "ListObjectsV2" {
						r.Resource, r.Context["s3:prefix"] = "arn:aws:s3:::"+w.bucket, x.Request.URL.Query().Get("prefix")
					}
					if allowed, why := iam.Decide(r); !allowed {
						t.Errorf("%s on %s %v: %s", r.Action, r.Resource, r.Context, why)
					}
					seen[op]++
					x.Answer(x.Forward())
				}})
			}
			w.through(faults...)
			report, err := w.examine(t.Context())
			w.ok(err)
			if len(seen) != 5 || report.Count(doctor.Failed) > 0 {
				t.Errorf("the requests were %v", seen)
			}
		})
	}
}
