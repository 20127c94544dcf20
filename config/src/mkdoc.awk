# A little Markdown (headings, lists, indented code, paragraphs) to HTML or, with to=man, to a manual page.
BEGIN {
  if (to == "html") print "<!doctype html><meta charset=utf-8>"
  else print ".TH SMALL-WORLD 7"
}
to == "man" && /^#/ { sub(/^#+ */, ""); print ".SH " toupper($0); next }
to == "man" && /^- / { sub(/^- /, ""); print ".IP \\(bu 2\n" $0; next }
to == "man" && /^    / { print ".EX\n" $0 "\n.EE"; next }
to == "man" { print $0 == "" ? ".PP" : $0; next }

{ gsub(/&/, "\\&amp;"); gsub(/</, "\\&lt;"); gsub(/>/, "\\&gt;") }
/^#/ { level = match($0, /[^#]/) - 1; enter(""); print "<h" level ">" substr($0, level + 2) "</h" level ">"; next }
/^- / { enter("ul"); print "<li>" substr($0, 3); next }
/^    / { enter("pre"); print substr($0, 5); next }
/^$/ { enter(""); next }
{ enter("p"); print }
END { if (to == "html") enter("") }

function enter(element) {
  if (element == inside) return
  if (inside != "") print "</" inside ">"
  if (element != "") print "<" element ">"
  inside = element
}
