// Linking is the test; running it adds that the room's static objects can be made and destroyed on their own.
int main() {}
