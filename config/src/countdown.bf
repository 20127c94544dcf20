a line feed   ++++++++++
a nine and one   >++++++++[>+++++++<-]>++
ten times   >++++++++++[<-.<<.>>>-]
