// Package oci is what the drivers of OCI engines share: containers described
// by a runtime bundle, made and started by the engine's command line, and
// from then on watched without it.
//
// An engine's command is run twice in the life of a container, to create and
// to start it. Everything else (is it alive, what does it use, how did it
// end, kill it, remove it) is read from and done to the kernel: process file
// descriptors, control groups and the files written here. That is faster, and
// it works on what a killed engine left half made.
//
// Each container has a directory of its own below the driver's root, which
// also holds the engine's state. Removing a container is killing its control
// group and removing that directory.
package oci
