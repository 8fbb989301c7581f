package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/serve"
	"github.com/vaultpack/vaultpack/serve/s3api"
	"github.com/vaultpack/vaultpack/serve/web"
)

const defaultS3Address = "127.0.0.1:9711"

func serveCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "serve datasets to other programs over S3's protocol, HTTP and WebDAV",
		ArgsUsage: "[DATASET[@VERSION]...]",
		Description: "serve decrypts what is asked for, in memory, and sends it to programs on this machine.\n" +
			"It only reads. Without datasets it serves all that are in the vault now. It ends with\n" +
			"Ctrl-C.\n\n" +
			"By S3's protocol a dataset is a bucket with the files of its newest version; DATASET.vN is\n" +
			"version N. By HTTP and WebDAV it is the folder /DATASET/ or /DATASET@N/. The newest version\n" +
			"is the one that is newest when serve starts. A dataset with @VERSION is served in this\n" +
			"version only.\n\n" +
			"Clients must have the credentials that serve makes and prints once. An ADDR is HOST:PORT,\n" +
			"with port 0 for any that is free, or unix:FILE.",
		Flags: append(cacheFlags(),
			&cli.StringFlag{Name: "s3", Usage: "speak S3's protocol at `ADDR` (default: " + defaultS3Address + ", unless --http is given)"},
			&cli.StringFlag{Name: "http", Usage: "speak HTTP and WebDAV at `ADDR`"},
			&cli.StringFlag{Name: "credentials", Usage: "keep the credentials in `FILE`, created if missing, and print none"},
			&cli.StringFlag{Name: "memory", Value: "256MiB", Usage: "keep up to `SIZE` of what was read last in memory"},
			&cli.BoolFlag{Name: "allow-remote", Usage: "allow an ADDR that other machines can reach"},
			&cli.StringFlag{Name: "tls-cert", Usage: "encrypt connections with the certificate in `FILE` (PEM)"},
			&cli.StringFlag{Name: "tls-key", Usage: "the private key of --tls-cert, in `FILE` (PEM)"},
			&cli.StringSliceFlag{Name: "host", Usage: "also answer requests for the host `NAME`, not only for IP addresses and localhost; can be repeated"}),
		Action: func(c *cli.Context) error { return runServe(c, con) },
	}
}

// serveOptions returns the options given by the arguments and --memory.
func serveOptions(c *cli.Context) (o serve.Options, err error) {
	refs, err := arguments(c, 0, -1)
	if err != nil {
		return o, err
	}
	for _, ref := range refs {
		r, err := parseRef(ref)
		if err != nil {
			return o, err
		}
		o.Datasets = append(o.Datasets, r)
	}
	if o.Memory, err = parseSize(c.String("memory")); err != nil {
		return o, usagef("--memory: %w", err)
	}
	return o, nil
}

func runServe(c *cli.Context, con *console) error {
	o, err := serveOptions(c)
	if err != nil {
		return err
	}
	s := &server{con: con, failures: &failures{con: con}}
	if err := s.access(c); err != nil {
		return err
	}
	v, err := openVault(c, con)
	if err != nil {
		return err
	}
	disk, closeCache, err := openCache(c, con)
	if err != nil {
		return err
	}
	defer closeCache()
	o.Cache = disk
	// What is under way when the command is interrupted is sent as far as it goes.
	if s.catalog, err = serve.Open(context.WithoutCancel(c.Context), v, o); err != nil {
		return err
	}
	defer s.catalog.Close()
	if err := s.catalog.Pin(c.Context); err != nil {
		return err
	}
	if err := s.listen(c); err != nil {
		return errors.Join(err, s.close())
	}
	if err := s.tell(c.Context); err != nil {
		return errors.Join(err, s.close())
	}
	con.untilStopped = true
	err = s.run(c.Context)
	con.emit("summary", event{"command": "serve", "failed": s.count})
	if err != nil {
		return err
	}
	return partly(s.failures.all.Err("send"), "answer", "the others were sent whole")
}

// A server is one run of the command.
type server struct {
	con         *console
	catalog     *serve.Catalog
	credentials serve.Credentials
	file        string // that keeps the credentials, or empty
	s3, http    *serve.Endpoint

	mu       sync.Mutex
	failures *failures
	count    int64
}

// access creates or reads the credentials.
func (s *server) access(c *cli.Context) (err error) {
	if (c.String("tls-cert") == "") != (c.String("tls-key") == "") {
		return usagef("--tls-cert and --tls-key are required together")
	}
	s.file = c.String("credentials")
	if s.file == "" {
		if s.con.quiet && !s.con.json {
			return usagef("--quiet hides the credentials; add --credentials FILE")
		}
		s.credentials = serve.NewCredentials()
		return nil
	}
	s.credentials, err = serve.KeepCredentials(s.file)
	return err
}

func (s *server) listen(c *cli.Context) (err error) {
	o := serve.ListenOptions{AllowRemote: c.Bool("allow-remote"), CertFile: c.String("tls-cert"), KeyFile: c.String("tls-key"), Hosts: c.StringSlice("host")}
	at := c.String("s3")
	if at == "" && c.String("http") == "" {
		at = defaultS3Address
	}
	if at != "" {
		if s.s3, err = serve.Listen(c.Context, at, o); err != nil {
			return fmt.Errorf("--s3: %w", err)
		}
	}
	if at = c.String("http"); at != "" {
		if s.http, err = serve.Listen(c.Context, at, o); err != nil {
			return fmt.Errorf("--http: %w", err)
		}
	}
	for _, e := range []*serve.Endpoint{s.s3, s.http} {
		if e != nil && e.Remote && !e.TLS() {
			s.con.warnf("WARNING: %s can be reached from other machines, and nothing is encrypted on the way: whoever listens on the network sees the data. Add --tls-cert and --tls-key.", e.URL)
		}
	}
	return nil
}

func (s *server) close() (err error) {
	for _, e := range []*serve.Endpoint{s.s3, s.http} {
		if e != nil {
			err = errors.Join(err, e.Close())
		}
	}
	return err
}

// tell prints what is served and where, and the credentials.
func (s *server) tell(ctx context.Context) error {
	var all []event
	for _, name := range s.catalog.Names() {
		v, err := s.catalog.Version(ctx, name, 0)
		if err != nil {
			return err
		}
		all = append(all, event{"dataset": name, "version": v.Number, "digest": v.Digest(), "bucket": serve.BucketName(name)})
		s.con.printf("serving  %s@%d, %s in %s, as bucket %s", name, v.Number, size(v.Totals.Bytes), count(v.Totals.Files, "file"), serve.BucketName(name))
		if n := v.Totals.Links; n > 0 {
			s.con.printf("         it has %s: those to its own files are served as files, the others are left out", count(n, "symbolic link"))
		}
	}
	told := event{"datasets": all, "region": s3api.Region}
	c := s.credentials
	if s.file != "" {
		told["credentials"] = s.file
		s.con.printf("\ncredentials are in %s", show(s.file))
		c = serve.Credentials{Token: "VAULTPACK_SERVE_TOKEN"}
	} else {
		told["access_key_id"], told["secret_access_key"], told["token"] = c.AccessKeyID, c.SecretAccessKey, c.Token
	}
	if s.s3 != nil {
		told["s3"] = s.s3.URL
		s.con.printf("\nexport AWS_ENDPOINT_URL=%s\nexport AWS_REGION=%s", s.s3.URL, s3api.Region)
		if s.file == "" {
			s.con.printf("export AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s", c.AccessKeyID, c.SecretAccessKey)
		}
	}
	if s.http != nil {
		told["http"] = s.http.URL
		s.con.printf("\nin a browser:     %s%s/\nby WebDAV, curl:  %s/ with any user and the password %s", s.http.URL, web.Path(c.Token), s.http.URL, c.Token)
	}
	s.con.emit("serving", told)
	s.con.flush()
	s.con.notef("\nUntil it ends, with Ctrl-C, whoever has these credentials can read the data.")
	return nil
}

// run serves until ctx ends.
func (s *server) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type side struct {
		at *serve.Endpoint
		h  http.Handler
	}
	var sides []side
	if s.s3 != nil {
		h, err := s3api.New(s.catalog, s.credentials, s.failed)
		if err != nil {
			return errors.Join(err, s.close())
		}
		sides = append(sides, side{s.s3, h})
	}
	if s.http != nil {
		h, err := web.New(s.catalog, s.credentials.Token, s.failed)
		if err != nil {
			return errors.Join(err, s.close())
		}
		sides = append(sides, side{s.http, h})
	}
	ended := make(chan error, len(sides))
	for _, side := range sides {
		go func() {
			defer cancel() // if one ends, so does the other
			ended <- side.at.Serve(ctx, side.h)
		}()
	}
	var err error
	for range sides {
		err = errors.Join(err, <-ended)
	}
	return err
}

// failed reports a response that could not be sent, or only in part.
func (s *server) failed(dataset, path string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	s.failures.path(dataset+"/"+path, fmt.Errorf("at %s: %w", time.Now().Format(time.TimeOnly), err))
}
