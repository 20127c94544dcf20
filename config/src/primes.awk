# The primes below `limit`, one a line: the sieve of Eratosthenes over odd numbers.
BEGIN {
  print 2
  for (n = 3; n < limit; n += 2) {
    if (n in composite) { delete composite[n]; continue }
    print n
    if (n * n < limit) for (multiple = n * n; multiple < limit; multiple += 2 * n) composite[multiple]
  }
}
