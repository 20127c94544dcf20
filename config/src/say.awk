# Text on stdin to a Brainfuck program that prints it: one cell, stepped from each character to the next.
BEGIN { for (i = 1; i < 128; i++) code[sprintf("%c", i)] = i; code["\n"] = 10 }

{
  for (i = 1; i <= length($0); i++) step(code[substr($0, i, 1)])
  step(10)
}

function step(to,   line) {
  for (; at < to; at++) line = line "+"
  for (; at > to; at--) line = line "-"
  print line "."
}
