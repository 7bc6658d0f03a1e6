package daytona

import (
	"flag"
	"os"
	"testing"
)

// TestMain leaves out the examples unless there is a server for them.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("DAYTONA_API_KEY") == "" {
		if err := flag.Set("test.skip", "^Example"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
