// Command vaultpack-run is the entry point of a training container: it opens the
// sealed channels of the job, and then execs the training command. It is `vaultpack
// sagemaker-run` and nothing more, so that no program that could create roles or jobs
// is present where data is opened.
package main

import (
	"os"

	"github.com/vaultpack/vaultpack/trainer/container/opener"
)

func main() { os.Exit(opener.Main(os.Args)) }
