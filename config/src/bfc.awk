# Brainfuck on stdin to a static Linux executable, as octal escapes for printf; machine is x86_64 or aarch64.
#
# The tape is 64 KiB behind the code, in the same segment. Runs of equal commands become one instruction.
BEGIN { BASE = 4194304; HEADERS = 120; TAPE = 65536; arm = machine == "aarch64" }

{ source = source $0 }

END {
  gsub(/[^][<>+.,-]/, "", source)
  for (at = 1; at <= length(source); at += count[n]) {
    op[++n] = substr(source, at, 1)
    count[n] = 1
    if (index("<>+-", op[n])) while (count[n] < 255 && substr(source, at + count[n], 1) == op[n]) count[n]++
    address[n] = size
    size += sizeOf(op[n])
    if (op[n] == "[") open[++depth] = n
    if (op[n] == "]") { if (!depth) fail("']' without '['"); partner[n] = open[depth]; partner[open[depth--]] = n }
  }
  if (depth) fail("'[' without ']'")
  file = HEADERS + (arm ? 12 : 10) + size + (arm ? 12 : 9)
  tape = BASE + file + 16 - file % 16
  header()
  if (arm) for (i = 0; i <= n; i++) armCode(i)
  else for (i = 0; i <= n; i++) x86Code(i)
  if (arm) { word(3531603968); word(3531606952); word(3556769793) } # x0 = 0; x8 = 93 (exit); svc
  else hex("b83c00000031ff0f05") # exit(0)
}

function sizeOf(c) {
  if (arm) return c ~ /[<>]/ ? 4 : c ~ /[][]/ ? 8 : c == "," ? 16 : 12
  return c ~ /[<>]/ ? 7 : c ~ /[+-]/ ? 3 : c ~ /[][]/ ? 9 : c == "." ? 12 : 9
}

function header() {
  hex("7f454c46020101000000000000000000") # 64 bits, little-endian
  hex("0200"); little(arm ? 183 : 62, 2); little(1, 4) # executable, machine, version
  little(BASE + HEADERS, 8); little(64, 8); little(0, 8); little(0, 4) # entry, program headers, no sections
  little(64, 2); little(56, 2); little(1, 2); little(64, 2); little(0, 4) # sizes; one program header
  little(1, 4); little(7, 4); little(0, 8); little(BASE, 8); little(BASE, 8) # load it all: rwx
  little(file, 8); little(tape - BASE + TAPE, 8); little(65536, 8)
}

function x86Code(i,   c, jump) {
  if (i == 0) { hex("be"); little(tape, 4); hex("ba01000000"); return } # rsi = tape; rdx = 1
  c = op[i]
  jump = c ~ /[][]/ ? address[partner[i]] - address[i] : 0
  if (c == ">") { hex("4881c6"); little(count[i], 4) }
  if (c == "<") { hex("4881ee"); little(count[i], 4) }
  if (c == "+") { hex("8006"); little(count[i], 1) }
  if (c == "-") { hex("802e"); little(count[i], 1) }
  if (c == ".") hex("b801000000bf010000000f05") # write(1, rsi, 1)
  if (c == ",") hex("c6060031c031ff0f05") # *rsi = 0; read(0, rsi, 1)
  if (c == "[") { hex("803e000f84"); little(jump, 4) } # past the partner, which is as long
  if (c == "]") { hex("803e000f85"); little(jump, 4) }
}

function armCode(i,   c, jump) {
  if (i == 0) { # x1 = tape; x2 = 1
    word(3531603969 + tape % 65536 * 32); word(4070572033 + int(tape / 65536) * 32); word(3531604002)
    return
  }
  c = op[i]
  jump = c ~ /[][]/ ? (address[partner[i]] - address[i]) / 4 : 0
  if (jump < 0) jump += 524288
  if (c == ">") word(2432696353 + count[i] * 1024)
  if (c == "<") word(3506438177 + count[i] * 1024)
  if (c ~ /[+-]/) { word(960495651); word((c == "+" ? 285212771 : 1358954595) + count[i] * 1024); word(956301347) }
  if (c == ".") { word(3531604000); word(3531606024); word(3556769793) } # write(1, x1, 1)
  if (c == ",") { word(956301375); word(3531603968); word(3531605992); word(3556769793) } # *x1 = 0; read(0, x1, 1)
  if (c == "[") { word(960495651); word(872415235 + jump * 32) } # cbz w3
  if (c == "]") { word(960495651); word(889192451 + jump * 32) } # cbnz w3
}

function word(value) { little(value, 4) }
function little(value, bytes,   text) {
  if (value < 0) value += 4294967296
  for (text = ""; bytes > 0; bytes--) { text = text sprintf("\\%03o", value % 256); value = int(value / 256) }
  print text
}
function hex(text,   i, out) {
  for (i = 1; i < length(text); i += 2) out = out sprintf("\\%03o", digit(text, i) * 16 + digit(text, i + 1))
  print out
}
function digit(text, i) { return index("0123456789abcdef", substr(text, i, 1)) - 1 }
function fail(message) { print "bfc: " message > "/dev/stderr"; failed = 1; exit 1 }
