package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tools is the section about programs that also encrypt on the way to S3, with their
// default settings. They are looked up in PATH.
func (b *bench) tools(ctx context.Context) error {
	var names []string
	for _, command := range [][]string{{"restic", "version"}, {"rclone", "version"}} {
		version, err := exec.CommandContext(ctx, command[0], command[1:]...).Output()
		if err != nil {
			return fmt.Errorf("%s: %w", command[0], err)
		}
		first, _, _ := strings.Cut(string(version), "\n")
		names = append(names, first)
	}
	works, remove, err := b.works(ctx, [2]float64{}, [2]float64{})
	if err != nil {
		return err
	}
	defer remove()
	c, stop, err := b.cloud(ctx)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Fprintf(b.out, "%s.\n\n", strings.Join(names, "; "))
	return b.compare(ctx, "Programs that encrypt, to MinIO and back", works, []way{
		{"vaultpack", false, b.onMinIO(c.vaultpack("none"))},
		{"restic", true, b.onMinIO(c.restic(ctx))},
		{"rclone crypt", true, b.onMinIO(c.rclone(ctx))},
		{"s5cmd, which does not encrypt", true, b.onMinIO(c.s5cmd)},
	})
}

// restic keeps a repository in the bucket. It stores paths as given, so it runs in the
// folder that it stores.
func (c *cloudPlace) restic(ctx context.Context) func(url, bucket string) (turn, error) {
	return func(url, bucket string) (turn, error) {
		p, remove, err := c.place(url)
		if err != nil {
			return turn{}, err
		}
		password := filepath.Join(p.dir, "password")
		p.env = append(p.env, "RESTIC_REPOSITORY=s3:"+url+"/"+bucket+"/restic", "RESTIC_PASSWORD_FILE="+password, "RESTIC_CACHE_DIR="+filepath.Join(p.dir, "cache"))
		if err = os.WriteFile(password, []byte("password\n"), 0o600); err == nil {
			_, err = p.run(ctx, "restic", "init", "-q")
		}
		if err != nil {
			remove()
			return turn{}, err
		}
		return turn{
			up: func(ctx context.Context, src string) (took, error) {
				what := "."
				if !isDir(src) {
					src, what = filepath.Split(src)
				}
				return place{src, p.env}.run(ctx, "restic", "backup", "-q", what)
			},
			down: func(ctx context.Context, _, dst string) (took, error) {
				return p.run(ctx, "restic", "restore", "-q", "latest", "--target", dst)
			},
			end: remove,
		}, nil
	}
}

// rclone encrypts names and contents of individual files: its remote of type crypt.
func (c *cloudPlace) rclone(ctx context.Context) func(url, bucket string) (turn, error) {
	return func(url, bucket string) (turn, error) {
		p, remove, err := c.place(url)
		if err != nil {
			return turn{}, err
		}
		obscured, err := exec.CommandContext(ctx, "rclone", "obscure", "password").Output()
		if err != nil {
			remove()
			return turn{}, fmt.Errorf("rclone obscure: %w", err)
		}
		p.env = append(p.env, "RCLONE_CONFIG=/dev/null", "RCLONE_CONFIG_S_TYPE=s3", "RCLONE_CONFIG_S_PROVIDER=Minio", "RCLONE_CONFIG_S_ENV_AUTH=true",
			"RCLONE_CONFIG_S_ENDPOINT="+url, "RCLONE_CONFIG_C_TYPE=crypt", "RCLONE_CONFIG_C_REMOTE=s:"+bucket+"/crypt",
			"RCLONE_CONFIG_C_PASSWORD="+strings.TrimSpace(string(obscured)))
		return turn{
			up:   func(ctx context.Context, src string) (took, error) { return p.run(ctx, "rclone", "copy", src, "c:") },
			down: func(ctx context.Context, _, dst string) (took, error) { return p.run(ctx, "rclone", "copy", "c:", dst) },
			end:  remove,
		}, nil
	}
}
