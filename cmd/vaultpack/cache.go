package main

import (
	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset/cache"
)

const defaultCacheSize = "10GiB"

// cacheFlags are those of commands that read through package view.
func cacheFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "cache", Usage: "keep what was read in the folder `DIR`, sealed, for later commands too"},
		&cli.StringFlag{Name: "cache-size", Usage: "take up to `SIZE` in the folder of --cache, from 64MiB on", DefaultText: defaultCacheSize},
	}
}

// openCache opens the cache that the flags name; nil if they name none. close is to be
// called after what reads through it is closed.
func openCache(c *cli.Context, con *console) (disk *cache.Cache, done func(), err error) {
	dir, text := c.String("cache"), c.String("cache-size")
	switch {
	case dir == "" && text != "":
		return nil, nil, usagef("--cache-size needs --cache DIR, which says where")
	case dir == "":
		return nil, func() {}, nil
	case text == "":
		text = defaultCacheSize
	}
	n, err := parseSize(text)
	if err != nil {
		return nil, nil, usagef("--cache-size: %w", err)
	}
	if n < cache.MinSize {
		return nil, nil, usagef("--cache-size: %s is too little; give 64MiB or more", size(n))
	}
	if disk, err = cache.Open(dir, n, func(err error) {
		con.warnf("WARNING: %v. Contents come from the vault.", err)
	}); err != nil {
		return nil, nil, err
	}
	if got := disk.Size(); got > n || got < n-n/8 {
		con.warnf("WARNING: other processes use the cache in %s with a size of %s, which it keeps.", show(dir), size(got))
	}
	return disk, func() { disk.Close() }, nil
}
