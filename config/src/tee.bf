copies what it reads to what it writes
,[.,]
