package provision_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/provision"
)

func pathStyle(o *s3.Options) { o.UsePathStyle = true }

// awsAt is the configuration of a caller of the server.
func awsAt(t testing.TB, s *s3test.Server, more ...func(*config.LoadOptions) error) aws.Config {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(context.Background(), append(append(s.Options(), config.WithBaseEndpoint(s.URL), config.WithRegion("eu-central-1")), more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func provisioner(t testing.TB, cfg aws.Config, target provision.Target) *provision.Provisioner {
	t.Helper()
	p, err := provision.New(cfg, target, pathStyle)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func plan(t testing.TB, p *provision.Provisioner) *provision.Plan {
	t.Helper()
	pl, err := p.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return pl
}

func text(pl *provision.Plan) string {
	var b strings.Builder
	for _, s := range pl.Steps {
		fmt.Fprintln(&b, s)
	}
	for _, n := range pl.Notes {
		fmt.Fprintln(&b, "note:", n)
	}
	return b.String()
}

// apply plans, applies, and wants nothing to do afterwards, for another
// Provisioner too.
func apply(t testing.TB, cfg aws.Config, target provision.Target) provision.Outputs {
	t.Helper()
	p := provisioner(t, cfg, target)
	pl := plan(t, p)
	told := 0
	if err := p.Apply(t.Context(), pl, func(provision.Step) { told++ }); err != nil {
		t.Fatal(err)
	}
	if told != len(pl.Steps) {
		t.Errorf("%d of %d steps were told", told, len(pl.Steps))
	}
	target.Adopt = false
	if again := plan(t, provisioner(t, cfg, target)); len(again.Steps) > 0 {
		t.Fatalf("the second run wants to:\n%s", text(again))
	}
	return p.Outputs()
}

func TestMoto(t *testing.T) {
	s := s3test.Moto(t)
	cfg := awsAt(t, s)
	target := provision.Target{Bucket: "data", Prefix: "ml/"}
	p := provisioner(t, cfg, target)
	t.Log("\n" + text(plan(t, p)))
	o := apply(t, cfg, target)
	t.Logf("%+v", o)
}
