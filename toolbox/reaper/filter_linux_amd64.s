#include "textflag.h"

// The kernel calls these with the C convention: DI the signal's number, SI its
// siginfo (signo at 0, errno at 4, code at 8, the sender's pid at 16), DX the
// context. AX and R11 are free to use, and nothing is on the stack but the
// return address of the restorer.

// func dropSent()
// A code above zero is given by the kernel for a real fault or event: on to the
// Go runtime. Any other was sent by a process: return, as if nothing happened.
TEXT ·dropSent(SB),NOSPLIT|NOFRAME,$0-0
	MOVL	8(SI), AX
	CMPL	AX, $0
	JLE	drop
	MOVQ	·runtimeHandler(SB), AX
	JMP	AX
drop:
	RET

// func noteSender()
// Code zero with pid zero is kill(2) by a process outside the namespace.
TEXT ·noteSender(SB),NOSPLIT|NOFRAME,$0-0
	MOVL	8(SI), AX
	ORL	16(SI), AX
	JNZ	next
	MOVL	$1, ·outside(SB)
next:
	MOVQ	·runtimeHandler(SB), AX
	JMP	AX

// func addresses() (drop, note uintptr)
TEXT ·addresses(SB),NOSPLIT,$0-16
	LEAQ	·dropSent(SB), AX
	MOVQ	AX, drop+0(FP)
	LEAQ	·noteSender(SB), AX
	MOVQ	AX, note+8(FP)
	RET
