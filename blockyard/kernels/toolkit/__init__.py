"""What kernels share: pieces of a row, vectors of numbers, arrays, threads, gradients of scans."""
