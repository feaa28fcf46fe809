"""From a report's plain data to text and pictures: it knows neither reports nor tests."""
