// Package e2e proves, from outside, what is promised: the published SDKs run
// unchanged against a real server, sandboxes are isolated, and nothing is lost
// or leaked when the server is killed.
//
// The tests need root and the binaries in bin/ (make test-e2e builds them), and
// install the SDKs, at the versions pinned in py/ and ts/, below .cache/e2e.
// The server that they start keeps its data there too, so that only the first
// run makes the default snapshot; DAYTONA_E2E_DATA names another place.
//
// With DAYTONA_E2E_API_URL and DAYTONA_E2E_API_KEY set, the SDK tests use that
// server and start none, and the tests that must kill a server are skipped.
//
// DAYTONA_E2E_SOAK=full and DAYTONA_E2E_LARGE=full do the whole of what takes
// minutes: 10,000 commands, 1,000 sessions and 200 terminals in one sandbox, and
// a file of 2 GiB.
package e2e
