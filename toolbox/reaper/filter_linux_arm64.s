#include "textflag.h"

// The kernel calls these with the C convention: R0 the signal's number, R1 its
// siginfo (signo at 0, errno at 4, code at 8, the sender's pid at 16), R2 the
// context, R30 the restorer to return to. R9 and R10 are free to use.

// func dropSent()
// A code above zero is given by the kernel for a real fault or event: on to the
// Go runtime. Any other was sent by a process: return, as if nothing happened.
TEXT ·dropSent(SB),NOSPLIT|NOFRAME,$0-0
	MOVW	8(R1), R9
	CMPW	$0, R9
	BLE	drop
	MOVD	·runtimeHandler(SB), R9
	JMP	(R9)
drop:
	RET

// func noteSender()
// Code zero with pid zero is kill(2) by a process outside the namespace.
TEXT ·noteSender(SB),NOSPLIT|NOFRAME,$0-0
	MOVWU	8(R1), R9
	MOVWU	16(R1), R10
	ORR	R10, R9, R9
	CBNZ	R9, next
	MOVD	$1, R10
	MOVW	R10, ·outside(SB)
next:
	MOVD	·runtimeHandler(SB), R9
	JMP	(R9)

// func addresses() (drop, note uintptr)
TEXT ·addresses(SB),NOSPLIT,$0-16
	MOVD	$·dropSent(SB), R9
	MOVD	R9, drop+0(FP)
	MOVD	$·noteSender(SB), R9
	MOVD	R9, note+8(FP)
	RET
