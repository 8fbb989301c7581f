// Command vaultpack-run is what a training container starts with: it opens the sealed
// channels of the job, and becomes the command that trains. It is `vaultpack
// sagemaker-run` and no more: beside opened data there is no program that could make
// roles, or jobs.
package main

import (
	"os"

	"github.com/vaultpack/vaultpack/trainer/container/opener"
)

func main() { os.Exit(opener.Main(os.Args)) }
