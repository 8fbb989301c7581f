package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
)

// works makes the large file and the tree of small files.
func (b *bench) works(ctx context.Context, large, small [2]float64) ([]workload, func(), error) {
	dir, remove, err := b.sub("sources")
	if err != nil {
		return nil, nil, err
	}
	file, tree := filepath.Join(dir, "large.bin"), filepath.Join(dir, "tree")
	if err = makeFile(file, rand.NewChaCha8([32]byte{1}), b.large); err == nil {
		err = makeTree(ctx, tree, b.files, b.fileSize)
	}
	if err != nil {
		remove()
		return nil, nil, err
	}
	return []workload{
		{"one file of " + binary(b.large), file, b.large, large[0], large[1]},
		{fmt.Sprintf("%d files of %s", b.files, binary(b.fileSize)), tree, int64(b.files) * b.fileSize, small[0], small[1]},
	}, remove, nil
}

func binary(n int64) string {
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		if shift := 30 - 10*i; n >= 1<<shift && n%(1<<shift) == 0 {
			return fmt.Sprintf("%d %s", n>>shift, unit)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// s3 is the section about a real server, and one that discards.
func (b *bench) s3(ctx context.Context) error {
	works, remove, err := b.works(ctx, [2]float64{1, 1}, [2]float64{10, 10})
	if err != nil {
		return err
	}
	defer remove()
	c, stop, err := b.cloud(ctx)
	if err != nil {
		return err
	}
	defer stop()
	inSink := func(what func(url, bucket string) (turn, error)) func() (turn, error) {
		return func() (turn, error) {
			server := httptest.NewServer(newSink())
			t, err := what(server.URL, "bucket")
			if err != nil {
				server.Close()
				return turn{}, err
			}
			end := t.end
			t.down = nil
			t.end = func() { end(); server.Close() }
			return t, nil
		}
	}
	if err := b.compare(ctx, "To MinIO and back", works, []way{
		{"vaultpack", false, b.onMinIO(c.vaultpack("none"))},
		{"vaultpack, with SSE-KMS", false, b.onMinIO(c.vaultpack("aws:kms"))},
		{"s5cmd", true, b.onMinIO(c.s5cmd)},
	}); err != nil {
		return err
	}
	for i := range works {
		works[i].goalUp = 0 // it shows what a client can do, and is not a goal
	}
	return b.compare(ctx, "To a server that throws it away", works, []way{
		{"vaultpack", false, inSink(c.vaultpack("aws:kms"))},
		{"s5cmd", true, inSink(c.s5cmd)},
	})
}

// onMinIO gives each turn its own server and bucket.
func (b *bench) onMinIO(what func(url, bucket string) (turn, error)) func() (turn, error) {
	return func() (turn, error) {
		server, bucket, stop, err := b.minio()
		if err != nil {
			return turn{}, err
		}
		t, err := what(server.URL, bucket)
		if err != nil {
			stop()
			return turn{}, err
		}
		end := t.end
		t.end = func() { end(); stop() }
		return t, nil
	}
}

// cloud starts the KMS, with one key.
func (b *bench) cloud(ctx context.Context) (*cloudPlace, func(), error) {
	cloud := kmstest.NewServer()
	keys := httptest.NewServer(cloud)
	made, err := cloud.Client("us-east-1", "admin").CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		keys.Close()
		return nil, nil, err
	}
	return &cloudPlace{b: b, kms: keys.URL, arn: *made.KeyMetadata.Arn}, keys.Close, nil
}

// A cloudPlace runs clients against S3 servers.
type cloudPlace struct {
	b        *bench
	kms, arn string
}

func (c *cloudPlace) place(url string) (place, func(), error) {
	dir, remove, err := c.b.sub("client")
	return place{dir, []string{"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=vaultpack-test", "AWS_SECRET_ACCESS_KEY=vaultpack-test-secret",
		"AWS_ENDPOINT_URL_S3=" + url, "AWS_ENDPOINT_URL_KMS=" + c.kms, "S3_ENDPOINT_URL=" + url,
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "VAULTPACK_HOME=" + dir}}, remove, err
}

func (c *cloudPlace) vaultpack(sse string) func(url, bucket string) (turn, error) {
	return func(url, bucket string) (turn, error) {
		p, remove, err := c.place(url)
		if err != nil {
			return turn{}, err
		}
		set := "sse: none"
		if sse != "none" {
			set = "kms_key: my-key" // that of s3test's MinIO
		}
		config := fmt.Sprintf("vault: s3://%s/data\nkms_keys: [%s]\ns3:\n  %s\n", bucket, c.arn, set)
		if err := os.WriteFile(filepath.Join(p.dir, "vaultpack.yaml"), []byte(config), 0o600); err != nil {
			remove()
			return turn{}, err
		}
		return c.b.vaultpackTurn(p, remove), nil
	}
}

func (b *bench) vaultpackTurn(p place, end func()) turn {
	return turn{
		up: func(ctx context.Context, src string) (took, error) {
			return p.run(ctx, b.vaultpack, "push", "-q", src, "-d", "d")
		},
		down: func(ctx context.Context, _, dst string) (took, error) {
			return p.run(ctx, b.vaultpack, "restore", "-q", "d", dst)
		},
		end: end,
	}
}

func (c *cloudPlace) s5cmd(url, bucket string) (turn, error) {
	p, remove, err := c.place(url)
	if err != nil {
		return turn{}, err
	}
	to := "s3://" + bucket + "/plain/"
	return turn{
		up: func(ctx context.Context, src string) (took, error) {
			if isDir(src) {
				src += "/"
			}
			return p.run(ctx, c.b.s5cmd, "--log", "error", "cp", src, to)
		},
		down: func(ctx context.Context, _, dst string) (took, error) {
			return p.run(ctx, c.b.s5cmd, "--log", "error", "cp", to+"*", dst+"/")
		},
		end: remove,
	}, nil
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// directory is the section about a vault on the same disk.
func (b *bench) directory(ctx context.Context) error {
	works, remove, err := b.works(ctx, [2]float64{0.8, 0.8}, [2]float64{0.8, 0.8})
	if err != nil {
		return err
	}
	defer remove()
	return b.compare(ctx, "To a directory and back", works, []way{
		{"vaultpack", false, func() (turn, error) {
			p, remove, err := b.dirVault(ctx)
			return b.vaultpackTurn(p, remove), err
		}},
		{"cp -r", true, func() (turn, error) {
			dir, remove, err := b.sub("copy")
			p := place{dir: dir}
			return turn{
				up: func(ctx context.Context, src string) (took, error) { return p.run(ctx, "cp", "-r", src, "it") },
				down: func(ctx context.Context, src, dst string) (took, error) {
					if isDir(src) {
						return p.run(ctx, "cp", "-r", "it/.", dst)
					}
					return p.run(ctx, "cp", "it", filepath.Join(dst, filepath.Base(src)))
				},
				end: remove,
			}, err
		}},
		{"tar", true, func() (turn, error) {
			dir, remove, err := b.sub("tar")
			p := place{dir: dir}
			return turn{
				up: func(ctx context.Context, src string) (took, error) {
					if isDir(src) {
						return p.run(ctx, "tar", "-cf", "it.tar", "-C", src, ".")
					}
					return p.run(ctx, "tar", "-cf", "it.tar", "-C", filepath.Dir(src), filepath.Base(src))
				},
				down: func(ctx context.Context, _, dst string) (took, error) {
					return p.run(ctx, "tar", "-xf", "it.tar", "-C", dst)
				},
				end: remove,
			}, err
		}},
	})
}

// dirVault makes a vault in a directory.
func (b *bench) dirVault(ctx context.Context) (place, func(), error) {
	dir, remove, err := b.sub("vault")
	p := place{dir, []string{"VAULTPACK_HOME=" + dir, "VAULTPACK_VAULT=" + filepath.Join(dir, "vault")}}
	if err == nil {
		_, err = p.run(ctx, b.vaultpack, "init")
	}
	if err != nil {
		remove()
	}
	return p, remove, err
}
