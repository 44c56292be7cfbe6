int bottom() {
  return 42;
}
