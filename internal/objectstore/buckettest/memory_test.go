package buckettest_test

import (
	"testing"

	"daytona/internal/objectstore/buckettest"
)

func TestMemory(t *testing.T) { buckettest.Run(t, buckettest.NewMemory()) }
