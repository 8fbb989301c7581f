// Package launcher makes a trainer.Launcher from a configuration, with AWS clients and image
// registries.
//
//	l, v, err := launcher.Open(ctx, settings.Config())
//	plan, err := l.Plan(ctx, &trainer.Job{Dataset: "scans", Image: …, Role: …, InstanceType: …})
//	defer plan.Close()
//	err = l.Launch(ctx, plan)
package launcher

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/registry"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// ErrNoRegion is returned if no AWS Region is configured.
var ErrNoRegion = errors.New("the AWS Region is not known: set s3.region in " + config.FileName + ", AWS_REGION, or a region in the AWS profile")

// Services are the AWS clients that training needs.
type Services struct {
	SageMaker *sagemaker.Client
	Logs      *cloudwatchlogs.Client
	Region    string
}

// Connect returns clients for the vault's account and Region. It sends no requests.
func Connect(ctx context.Context, c *config.Config) (*Services, error) {
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return nil, err
	}
	ac, err := c.AWS(ctx)
	if err != nil {
		return nil, err
	}
	if ac.Region == "" {
		return nil, ErrNoRegion
	}
	sm, logs := trainer.NewClients(ac)
	return &Services{sm, logs, ac.Region}, nil
}

var errNoConfig = errors.New("launcher: a nil configuration")

// Open opens the vault and returns a Launcher for jobs on its datasets. The vault must
// be in S3, where SageMaker can read it.
func Open(ctx context.Context, c *config.Config) (*trainer.Launcher, *Services, error) {
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return nil, nil, err
	}
	c, err := c.Resolved(ctx)
	if err != nil {
		return nil, nil, err
	}
	v, err := config.Open(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	if _, err := trainer.Location(v.Location); err != nil {
		return nil, nil, err
	}
	s, err := Connect(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	l := &trainer.Launcher{Vault: v, SSEKey: c.SSEKey(), SageMaker: s.SageMaker, Processing: s.SageMaker, Region: s.Region, Images: registry.Client{}}
	l.KeyStore = func(ctx context.Context, key string) (vault.Store, error) {
		set := c.S3
		set.SSE, set.KMSKey = "", key
		return s3store.Open(ctx, c.Vault.Value, set)
	}
	return l, s, nil
}
