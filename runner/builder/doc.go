// Package builder makes images from Dockerfiles: BuildKit's solver and its
// Dockerfile front end run in this process, on the stores in which images are
// unpacked, so that what was built is at once what runs.
//
// A build is hostile input. Its RUN steps run as a sandbox does: with the same
// engine, in a network slot with a sandbox's rules, within limits on CPU,
// memory, processes, disk and time.
//
// Everything of the builder's own is in one directory:
//
//	cache.db, metadata.db   BuildKit's cache; what it names is in the stores
//	steps/<id>/             a step while it runs: bundle, root and mounts
//	contexts/<id>/          a build's context while it is built
package builder
