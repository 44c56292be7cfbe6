int bottom();
int middle() {
  return bottom();
}
