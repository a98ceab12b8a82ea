// Linking it is the test.
int main() {}
