// Package toolbox is the program inside a sandbox: it serves the files and runs
// the commands that clients ask for.
//
// # First process
//
// It is PID 1 of the sandbox and runs as the sandbox's user, so that the files
// it makes and the processes it starts have that user's rights and no others.
// It inherits orphans and waits for them (package reaper), it starts the image's
// own program as a child once the sandbox has its identity, and it ends when the
// runner says so by SIGTERM. A process inside cannot end it: the kernel keeps
// SIGKILL and SIGSTOP from the first process of a PID namespace, and all other
// signals from inside are dropped.
//
// # Who may ask
//
// It listens inside the sandbox, where any process can connect. Each request
// must carry the token that only the runner knows, in the header
// X-Daytona-Toolbox-Token. The token comes in the environment, which is wiped
// before anything else starts, and the process is marked as not dumpable, so
// that others of the same user can read neither its environment nor its memory.
// Whoever has the token gets what the sandbox's user may do anyway.
//
// # Routes
//
// routes.go has all of them on one page. POST /init is the runner's: it gives a
// booted sandbox its id, owner and variables. GET /version also serves as the
// sign that the toolbox is up. The others are for clients and keep the shapes
// that the SDKs of both eras expect; package wire tells the eras apart. Every
// error is JSON in one shape.
//
// # Limits
//
// Output of a command is kept up to 16 MiB and says so when there was more;
// that of a session's command is kept on disk, whatever its size.
// Files stream both ways through buffers of fixed size. Searches are bounded.
// Commands have no limit of time unless the request or an old client asks.
package toolbox
