// Package launcher makes a trainer.Launcher of a configuration: with the clients of AWS,
// and the registries of images.
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

// ErrNoRegion is returned where nothing says which AWS Region is meant.
var ErrNoRegion = errors.New("the AWS Region is not known: set s3.region in " + config.FileName + ", AWS_REGION, or a region in the AWS profile")

// Services are the clients of AWS that training takes.
type Services struct {
	SageMaker *sagemaker.Client
	Logs      *cloudwatchlogs.Client
	Region    string
}

// Connect makes clients for the vault's account and Region. It asks nothing of AWS.
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

// Open opens the vault and makes a Launcher of jobs on its datasets. The vault has to be
// in S3, where SageMaker finds it.
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
	l := &trainer.Launcher{Vault: v, SSEKey: c.SSEKey(), SageMaker: s.SageMaker, Region: s.Region, Images: registry.Client{}}
	l.KeyStore = func(ctx context.Context, key string) (vault.Store, error) {
		set := c.S3
		set.SSE, set.KMSKey = "", key
		return s3store.Open(ctx, c.Vault.Value, set)
	}
	return l, s, nil
}
