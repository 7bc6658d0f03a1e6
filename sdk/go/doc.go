// Package daytona is the Go client of the Daytona API: it makes sandboxes,
// isolated machines in which code runs, and works inside them.
//
//	client, err := daytona.New() // DAYTONA_API_KEY, DAYTONA_API_URL
//	if err != nil {
//		return err
//	}
//	sandbox, err := client.Create(ctx, daytona.CreateParams{})
//	if err != nil {
//		return err
//	}
//	defer sandbox.Delete(context.WithoutCancel(ctx))
//
//	run, err := sandbox.Process.RunCode(ctx, `print("hello")`)
//	if err != nil {
//		return err
//	}
//	fmt.Print(run.Output)
//
// # What there is
//
// A [Client] speaks to one server on behalf of one organization. It creates,
// finds and lists sandboxes; [Client.Snapshots], [Client.Volumes],
// [Client.Registries], [Client.APIKeys] and [Client.Organizations] are what
// else a server keeps.
//
// A [Sandbox] has a part for each thing that can be done inside it:
// [Sandbox.Process] runs commands and code, keeps sessions and terminals;
// [Sandbox.Interpreter] runs code piece by piece; [Sandbox.Files] moves files
// in and out; [Sandbox.Git] works on repositories; [Sandbox.Computer] moves a
// mouse and looks at a screen; [Sandbox.LSP] speaks to a language server.
//
// # Configuration
//
// What [New] is told in code counts first, then the environment, then a file
// .env.local or .env in the working directory, then defaults. The variables
// are DAYTONA_API_KEY, or DAYTONA_JWT_TOKEN with DAYTONA_ORGANIZATION_ID;
// DAYTONA_API_URL (or the older DAYTONA_SERVER_URL); and DAYTONA_TARGET.
//
// # Contexts and time limits
//
// Every call takes a context, and ends when that does. Without a deadline a
// call lasts as long as its work; [Client.Create] and the other calls that wait
// for a state give up after [WithWaitLimit], one minute unless told otherwise.
//
// # Errors
//
// What the server refuses comes as an [*Error] with the server's own words.
// Kinds of it are told apart by [errors.Is]:
//
//	if errors.Is(err, daytona.ErrNotFound) { … }
//
// A server that knows nothing of what was asked, such as volumes, is told from
// one that has not this volume: [ErrUnsupported] is no [ErrNotFound].
//
// # What is tried again
//
// A request that only reads is sent again, with growing pauses, when the
// connection failed or the server said that it is overloaded. So is the
// creation of a sandbox: it carries a key by which the server knows a
// repetition and answers with the same sandbox. What runs a command or changes
// a file is never sent twice.
package daytona
