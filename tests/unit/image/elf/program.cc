int middle();
int main() {
  return middle();
}
